"""Files of prompts and texts as users have them: marks, encodings, tables of spreadsheets."""

from __future__ import annotations

import argparse
import json

import pytest

from conceptbasis.behaviors.refusal import REFUSAL
from conceptbasis.cli.replay import _prompts
from conceptbasis.config.base import parse_config
from conceptbasis.config.prompts import PromptsSection, SourceSection, TextSourceSection
from conceptbasis.data.files import read_file
from conceptbasis.data.sources import build_from_sources, read_prompts, read_texts
from conceptbasis.data.suites import load_concepts
from conceptbasis.errors import PromptError

MARK = b"\xef\xbb\xbf"
PLAIN = {
    "a.txt": "Name a plum.\nName a pear.\n",
    "a.jsonl": '{"text": "Name a plum."}\n{"text": "Name a pear."}\n',
    "a.csv": "text,label\nName a plum.,x\nName a pear.,y\n",
}


def prompts(path, **values):
    return [
        p.text for p in read_prompts(parse_config(SourceSection, {"file": str(path)} | values, "t"))
    ]


def replayed(path):
    return [p.text for p in _prompts(argparse.Namespace(prompt=None, file=path, folder=None))]


READERS = [(name, read) for name in PLAIN for read in (prompts, replayed)]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_byte_order_marks_are_no_part_of_a_prompt(tmp_path, name, read):
    plain, marked = tmp_path / name, tmp_path / f"marked-{name}"
    plain.write_text(PLAIN[name], encoding="utf-8")
    marked.write_bytes(MARK + PLAIN[name].encode())
    assert read(plain) == read(marked) == ["Name a plum.", "Name a pear."]
    if name != "a.csv":  # two files with marks that were joined
        marked.write_bytes(marked.read_bytes() * 2)
        assert read(marked) == 2 * ["Name a plum.", "Name a pear."]


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
@pytest.mark.parametrize(("name", "read"), READERS)
def test_lines_may_end_as_on_other_systems(tmp_path, name, read, ends):
    (tmp_path / name).write_bytes(PLAIN[name].replace("\n", ends).encode())
    assert read(tmp_path / name) == ["Name a plum.", "Name a pear."]


@pytest.mark.parametrize(("name", "read"), READERS)
@pytest.mark.parametrize(
    ("encoding", "line", "fix"),
    [
        ("utf-16", 1, "iconv -f UTF-16"),
        ("utf-16-le", 1, "iconv -f UTF-16"),
        ("cp1252", 3, "iconv -f WINDOWS-1252"),
    ],
)
def test_other_encodings_are_named_with_file_line_and_remedy(
    tmp_path, name, read, encoding, line, fix
):
    text = PLAIN[name].replace("pear", "pâté")
    if line == 3 and name != "a.csv":
        text = "\n" + text
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(PromptError, match=rf"{name}, line {line}: not in UTF-8") as caught:
        read(tmp_path / name)
    assert fix in caught.value.fix
    (tmp_path / name).write_bytes(text.encode())
    assert read(tmp_path / name)[1] == "Name a pâté."


def test_suites_and_concepts_are_read_alike(tmp_path):
    row = {"name": "fruit", "budget": "B0"}
    row |= {"positive": [{"text": "Name a plum."}], "negative": [{"text": "Name a car."}]}
    path = tmp_path / "concepts.jsonl"
    path.write_bytes(MARK + json.dumps(row).encode())
    assert load_concepts(path)[0].name == "fruit"
    path.write_text(json.dumps(row | {"name": "pâté"}, ensure_ascii=False), encoding="latin-1")
    with pytest.raises(PromptError, match=r"concepts\.jsonl, line 1: not in UTF-8"):
        load_concepts(path)


def test_half_of_a_character_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Name a plum \\ud83d\\ude00"}\n{"text": "Name a pear \\ud83d"}\n')
    with pytest.raises(PromptError, match=r"a\.jsonl, line 2: half of a character, '\\ud83d'"):
        prompts(path)
    path.write_text('{"text": "Name a plum \\ud83d\\ude00"}\n')
    assert prompts(path) == ["Name a plum 😀"]
    with pytest.raises(PromptError, match="--prompt 2: half of a character"):
        _prompts(argparse.Namespace(prompt=["fine", "b\udce9d"], file=None, folder=None))


@pytest.mark.parametrize(
    "text",
    [
        'goal, topic, label\n"Name a plum, please.", fruit, x\n',
        'goal;topic;label\n"Name a plum, please.";fruit;x\n',
        "goal\ttopic\tlabel\nName a plum, please.\tfruit\tx\n",
        "goal;topic;label\nName a plum, please.;fruit;x\n",
        ' goal ,topic ,label\n"Name a plum, please.",fruit,x\n',
        '"goal","topic","label"\n"Name a plum, please.", "fruit", "x"\n',
        '\n\ngoal,topic,label\n"Name a plum, please.",fruit,x\n',
        ' \r\n,,\r\ngoal,topic,label\r\n"Name a plum, please.",fruit,x\r\n',
        "sep=;\ngoal;topic;label\nName a plum, please.;fruit;x\n",
        'SEP=,\r\n\r\ngoal,topic,label\r\n"Name a plum, please.",fruit,x\r\n',
        '"sep=|"\ngoal|topic|label\nName a plum, please.|fruit|x\n',
        "sep=\t\ngoal\ttopic\tlabel\nName a plum, please.\tfruit\tx\n",
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "A.CSV"])
def test_tables_of_spreadsheets_are_read(tmp_path, text, name):
    (tmp_path / name).write_text(text)
    section = {"file": str(tmp_path / name), "noun": "topic", "where": {"label": "x"}}
    found = read_prompts(parse_config(SourceSection, section, "t"))
    assert [(p.text, p.noun) for p in found] == [("Name a plum, please.", "fruit")]


def test_a_table_whose_cells_do_not_fit_its_header_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("goal,topic\nName a plum.,fruit\nMix salt, pepper and oil.,sauce\n")
    with pytest.raises(PromptError, match=r"a\.csv, line 3: more cells than the header") as caught:
        read_file(path)
    assert "quotes" in caught.value.fix
    path.write_text("goal\nMix salt, pepper and oil.\n")
    with pytest.raises(PromptError, match="line 2: more cells"):
        read_file(path)
    path.write_text("goal,goal\na,b\n")
    with pytest.raises(PromptError, match="'goal' twice"):
        read_file(path)
    path.write_text('goal,topic\n"Mix salt, pepper and oil.",sauce\n')
    assert read_file(path)[0]["goal"] == "Mix salt, pepper and oil."


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('goal,topic\n"Name a plum.,fruit\n', 2),
        ('goal,topic\nName a plum.,fruit\n"Name a pear.,fruit\nName a fig.,fruit\n', 3),
        ('\n\ngoal,topic\n"Name a plum.,fruit\n', 4),
        ('sep=,\ngoal,topic\n"Name" a plum.,fruit\n', 3),
        ('goal,topic\n"Name\na\nfig.",fruit\n"Name" a plum.,fruit\n', 5),
        ('"goal,topic\nName a plum.,fruit\n', 1),
    ],
)
def test_a_quote_that_is_wrong_is_named_with_the_line_where_its_row_begins(tmp_path, text, line):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(PromptError, match=rf"a\.csv, line {line}: ") as caught:
        read_file(path)
    assert "quote" in caught.value.fix


def test_line_numbers_count_what_stands_above_the_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\n\ngoal;topic\nName a plum.;fruit;x\n")
    with pytest.raises(PromptError, match=r"a\.csv, line 4: more cells") as caught:
        read_file(path)
    assert "';'" in caught.value.expected
    path.write_text("\n\n")
    assert read_file(path) == []


@pytest.mark.parametrize("key", ["answer", "noun", "kind", "column"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path, key, name):
    path = tmp_path / name
    if name == "a.csv":
        path.write_text("text,reply\nName a plum.,A plum.\nName a pear.,\n")
    else:  # a key may be absent from some lines
        path.write_text('{"text": "Name a plum.", "reply": "A plum."}\n{"text": "Name a pear."}\n')
    values = {"file": str(path), "text_class": "chat", "column": "text"}
    with pytest.raises(PromptError, match=rf"no column 'repyl' \(`{key}`\)") as caught:
        read_texts(parse_config(TextSourceSection, values | {key: "repyl"}, "t"))
    assert "text, reply" in caught.value.expected
    if key != "column":
        assert read_texts(parse_config(TextSourceSection, values | {key: "reply"}, "t"))


def test_a_column_without_any_answer_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,reply\nName a plum.,\n")
    with pytest.raises(PromptError, match=r"no row of .* has an answer in its column 'reply'"):
        read_texts(TextSourceSection(file=str(path), text_class="chat", answer="reply"))


def test_how_many_rows_each_source_gives_is_said(tmp_path):
    sets = REFUSAL.sets
    required = {}
    for name in sets.required:
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n{name} two\n")
        required[name] = {"file": str(tmp_path / f"{name}.txt")}
    path = tmp_path / "chats.csv"
    path.write_text("text,reply\nName a plum.,A plum.\nName a pear.,\nName a fig.,A fig.\n")
    chats = {"file": str(path), "text_class": "chat"}
    values = {"sets": required, "texts": [chats | {"answer": "reply"}, chats]}
    said: list[str] = []
    build_from_sources(parse_config(PromptsSection, values, "t"), None, sets, said.append)
    assert f"prompts: {sets.positive}: 2 rows of {tmp_path / sets.positive}.txt" in said
    assert said[-2:] == [
        f"prompts: texts (chat): 2 rows of {path}, 1 without an answer left out",
        f"prompts: texts (chat): 3 rows of {path}",
    ]


def test_a_key_that_a_line_gives_twice_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Name a plum."}\n{"text": "Name a pear.", "text": "Name a fig."}\n')
    with pytest.raises(PromptError, match=r"a\.jsonl, line 2: the key 'text' is given twice"):
        prompts(path)
