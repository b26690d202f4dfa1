"""Suites from files, data sets of the hub and presets; the prompts are ours and harmless."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from conceptbasis.behaviors.refusal import REFUSAL
from conceptbasis.config.base import parse_config
from conceptbasis.config.prompts import PromptsSection, SourceSection, TextSourceSection
from conceptbasis.config.run import load_run_config
from conceptbasis.data import presets as prompt_presets
from conceptbasis.data import sources as prompt_sources
from conceptbasis.data.presets import PRESETS
from conceptbasis.data.prompts import Prompt, Text
from conceptbasis.data.sources import build_from_sources, read_prompts, read_texts
from conceptbasis.data.suites import save_suite
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.study.opening import load_prompts

SETS = REFUSAL.sets


ROWS = [
    {"goal": "Name a “red” flower.", "topic": "tulip", "label": "safe", "reply": "A tulip."},
    {"goal": "Name a bird,\nplease.", "topic": "robin", "label": "safe", "reply": "A robin."},
    {"goal": "Name a cake.", "topic": "tart", "label": "other", "reply": ""},
]


def write(path, rows=ROWS):
    """The rows in the format that the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n", encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def source(**values):
    return parse_config(SourceSection, values, "test")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_tables_give_the_same_prompts(tmp_path, ending):
    file = str(write(tmp_path / f"a.{ending}"))
    found = read_prompts(source(file=file, noun="topic", answer="reply"))
    assert found == (
        Prompt("Name a “red” flower.", "tulip", answer="A tulip."),
        Prompt("Name a bird,\nplease.", "robin", answer="A robin."),
        Prompt("Name a cake.", "tart"),
    )
    safe = read_prompts(source(file=file, where={"label": "safe"}, rows="1:"))
    assert [p.text for p in safe] == ["Name a bird,\nplease."]
    either = read_prompts(source(file=file, where={"label": ["safe", "other"]}, rows=":2"))
    assert len(either) == 2


def test_lines_of_text_are_prompts(tmp_path):
    (tmp_path / "a.txt").write_text("Name a plum.\n\nName a pear.\n", encoding="utf-8")
    found = read_prompts(source(file=str(tmp_path / "a.txt")))
    assert [p.text for p in found] == ["Name a plum.", "Name a pear."]


def test_texts_are_chats_where_an_answer_is_named(tmp_path):
    file = str(write(tmp_path / "a.csv"))
    section = TextSourceSection(file=file, answer="reply", text_class="chat")
    assert read_texts(section)[1] == Text(
        (("user", "Name a bird,\nplease."), ("assistant", "A robin.")), "chat"
    )
    assert len(read_texts(section)) == 2  # a row without an answer is no chat
    plain = TextSourceSection(file=file, text_class="mentions", noun="topic")
    assert read_texts(plain)[2] == Text("Name a cake.", "mentions", "tart")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"column": "nope"}, r"no column 'nope'[\s\S]*goal, topic, label, reply"),
        ({"column": "reply"}, r"row 3: column 'reply' holds ''"),
        ({"where": {"nope": "x"}}, "no column 'nope'"),
        ({"where": {"label": "x"}}, r"no row is left of .* \(3 before selection\)"),
        ({"rows": "5:"}, "no row is left"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path, values, message):
    file = str(write(tmp_path / "a.csv"))
    with pytest.raises(PromptError, match=message):
        read_prompts(source(file=file, **values))


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name, content in (("a.json", "{}"), ("b.jsonl", "{"), ("c.jsonl", "[1]"), ("d.csv", None)):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(PromptError, match=name):
            read_prompts(source(file=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of preset, dataset, file"),
        ({"file": "a", "preset": "alpaca"}, "exactly one"),
        ({"dataset": "a/b"}, "revision"),
        ({"dataset": "a/b", "revision": "main"}, "a branch moves"),
        ({"file": "a", "revision": "0" * 40}, "revision and subset"),
        ({"file": "a", "rows": "1-2"}, "FROM:TO"),
    ],
)
def test_sources_must_be_pinned_and_unambiguous(values, message):
    with pytest.raises(ConfigError, match=message):
        source(**values)


def test_a_data_set_is_asked_for_at_its_commit(monkeypatch):
    import datasets

    asked = []

    def load(path, **options):
        asked.append((path, options))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load)
    given = {"dataset": "a/b", "revision": "0" * 40, "subset": "c", "split": "test"}
    assert len(read_prompts(source(**given))) == 3
    assert asked == [("a/b", {"name": "c", "revision": "0" * 40, "split": "test"})]

    def fail(path, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(PromptError, match=r"a/b@0000.* cannot be loaded: .*no network"):
        read_prompts(source(**given))


def test_presets_name_a_file_at_a_commit():
    for name, preset in PRESETS.items():
        assert re.fullmatch(r"[0-9a-f]{40}", preset.revision), name
        assert preset.revision in preset.url
        assert preset.url.endswith((".csv", ".parquet"))
    assert PRESETS["alpaca"].url.startswith("hf://datasets/tatsu-lab/alpaca@dce01c9b")


def test_a_preset_is_read_with_its_columns_and_its_selection(tmp_path, monkeypatch):
    """Through the data set library, from a file in the form of XSTest's."""
    rows = [
        {"id": 1, "prompt": "How do I stop a clock?", "type": "homonyms", "label": "safe"},
        {"id": 2, "prompt": "Which plum is ripe?", "type": "contrast", "label": "unsafe"},
    ]
    file = write(tmp_path / "x.csv", rows)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prompt_presets.Preset, "url", property(lambda self: str(file)))
    found = read_prompts(source(preset="xstest_safe"))
    assert found == (Prompt("How do I stop a clock?", kind="homonyms"),)
    with pytest.raises(PromptError, match="there is no preset 'advbenchh'"):
        read_prompts(source(preset="advbenchh"))


def section(tmp_path, **more):
    """Four sets of ten and texts, all distinct."""
    names = ("direction_harmful", "direction_harmless", "eval_harmful", "eval_harmless")
    sets = {}
    for name in names:
        rows = [{"text": f"Name {name} {i}?", "noun": f"n{i}"} for i in range(12)]
        sets[name] = {"file": str(write(tmp_path / f"{name}.csv", rows)), "noun": "noun"}
    rows = [{"text": f"A plum costs {i}."} for i in range(30)]
    texts = [{"file": str(write(tmp_path / "texts.csv", rows)), "text_class": "mentions"}]
    return parse_config(PromptsSection, {"sets": sets, "texts": texts, **more}, "test")


def test_a_suite_of_sources(tmp_path):
    suite = build_from_sources(section(tmp_path), None, SETS)
    assert [len(suite[name]) for name in suite.prompts] == [12] * 4
    assert len(suite.texts_for("B0")) == 30


def test_sources_stand_in_place_of_the_folders_sets(tmp_path):
    base = build_from_sources(section(tmp_path), None, SETS)
    save_suite(base, tmp_path / "folder")
    rows = [{"text": f"Name another {i}."} for i in range(11)]
    other = {"eval_harmful": {"file": str(write(tmp_path / "other.csv", rows))}}
    config = load_run_config(None, [f"prompts.path={tmp_path / 'folder'}"])
    values = {"path": str(tmp_path / "folder"), "sets": other}
    config = config.model_copy(update={"prompts": parse_config(PromptsSection, values, "test")})
    suite = load_prompts(config)
    assert suite["eval_harmful"][0].text == "Name another 0."
    assert suite["direction_harmful"] == base["direction_harmful"]
    assert suite.texts == base.texts


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("eval_harmful", "eval_harmful also occur in direction_harmless"),
        ("direction_harmful", "direction_harmless also occur in direction_harmful"),
        ("texts", "direction_harmless also occur in the texts"),
    ],
)
def test_overlap_is_refused_or_dropped_as_the_user_says(tmp_path, where, message):
    """One prompt of direction_harmless stands elsewhere too, in other case and punctuation."""
    values = section(tmp_path).model_dump()
    rows = [{"text": f"Name {where} {i}?"} for i in range(12)] + [
        {"text": "name DIRECTION_harmless, 3"}
    ]
    file = str(write(tmp_path / "with_shared.csv", rows))
    if where == "texts":
        values["texts"][0]["file"] = file
    else:
        values["sets"][where]["file"] = file
        values["sets"][where]["noun"] = None
    with pytest.raises(PromptError, match=message):
        build_from_sources(parse_config(PromptsSection, values, "test"), None, SETS)
    kept = build_from_sources(
        parse_config(PromptsSection, values | {"overlap": "drop"}, "test"), None, SETS
    )
    sizes = {name: len(kept[name]) for name in kept.prompts} | {"texts": len(kept.texts)}
    left = {"direction_harmless": 11} if where != "texts" else {"texts": 12}
    gained = {"eval_harmful": 13} if where == "eval_harmful" else {}
    expected = dict.fromkeys(kept.prompts, 12) | {"texts": 30} | left | gained
    assert sizes == expected


def test_a_harmful_request_is_no_text_of_a_narrower_class(tmp_path):
    suite = build_from_sources(section(tmp_path), None, SETS)
    prompt = suite["direction_harmful"][0].text
    for text_class, refused in (("chat", True), ("declines", True), ("harmful_requests", False)):
        texts = (*suite.texts, Text((("user", prompt.upper()),), text_class))
        if refused:
            with pytest.raises(PromptError, match=f"texts \\({text_class}\\)"):
                prompt_sources.check_disjoint(replace(suite, texts=texts), SETS)
        else:
            prompt_sources.check_disjoint(replace(suite, texts=texts), SETS)


def test_unknown_keys_of_a_source_are_named_with_those_it_knows(tmp_path):
    with pytest.raises(
        ConfigError, match=r"sets\.eval_harmful\.colum'[\s\S]*preset, dataset, file"
    ):
        load_run_config(None, ["prompts.sets.eval_harmful={file: a.csv, colum: b}"])
    with pytest.raises(ConfigError, match=r"texts\.0\.colum'[\s\S]*text_class"):
        load_run_config(None, ["prompts.texts=[{file: a.csv, text_class: chat, colum: b}]"])
