"""Labels of one's own are kept in the run and shown wherever the automatic ones are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conceptbasis.cli.main import main
from conceptbasis.errors import ConfigError
from conceptbasis.report.html import build_report
from conceptbasis.report.inspection import read_recipe
from conceptbasis.report.own_labels import LABELS, Labelled, read_labels, write_label

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import write_run

MINE = "my <b>own</b> label: Ω"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def first(folder: Path):
    layer = read_recipe(folder).layers[0]
    return layer, layer.donor_atoms[0]


def test_a_label_is_shown_by_inspect_with_the_automatic_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer, atom = first(folder)
    command = ["inspect", str(folder), "--layer", str(layer.target), "--atom", str(atom.latent)]
    assert main(command) == 0
    assert MINE not in capsys.readouterr().out
    for side in ("donor", "target"):
        assert main([*command, "--label", f"{MINE} {side}", "--side", side]) == 0
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"{MINE} donor (your own label; automatic: " in shown
    assert f"{MINE} target (your own label" in shown
    _, atom = first(folder)
    assert (atom.evidence.label, atom.target_evidence.label) == (f"{MINE} donor", f"{MINE} target")
    assert main([*command, "--label", ""]) == 0
    assert [w.side for w in read_labels(folder)] == ["target"]
    assert first(folder)[1].evidence.label != f"{MINE} donor"


def test_the_report_shows_it_escaped_and_is_made_anew(folder: Path) -> None:
    layer, atom = first(folder)
    before = build_report(folder, reuse=True).read_text()
    write_label(folder, Labelled("donor", layer.donor, atom.latent), MINE)
    page = build_report(folder, reuse=True).read_text()
    assert page != before
    assert "my &lt;b&gt;own&lt;/b&gt; label: Ω" in page
    assert MINE not in page


def test_other_latents_and_layers_keep_theirs(folder: Path) -> None:
    before = read_recipe(folder).layers
    layer, atom = first(folder)
    write_label(folder, Labelled("donor", layer.donor, atom.latent), MINE)
    after = read_recipe(folder).layers
    changed = [
        (new.donor, now.latent)
        for old, new in zip(before, after, strict=True)
        for was, now in zip(old.donor_atoms, new.donor_atoms, strict=True)
        if was.evidence.label != now.evidence.label
    ]
    assert set(changed) == {(layer.donor, atom.latent)}


@pytest.mark.parametrize(
    "text",
    [
        "other: {1: {2: a}}",
        "donor: [1]",
        "donor: {a: {2: b}}",
        "donor: {1: {-2: b}}",
        "donor: {1: {2: 3}}",
        "donor: {1: {2: ''}}",
        'donor: {1: {2: "a\\nb"}}',
        "donor: {1: x}",
        "- 1",
    ],
)
def test_a_file_of_another_form_is_refused_with_the_form(folder: Path, text: str) -> None:
    (folder / LABELS).write_text("donor: {1: {2: a}}\n")
    assert read_labels(folder) == {Labelled("donor", 1, 2): "a"}  # the control
    (folder / LABELS).write_text(text)
    with pytest.raises(ConfigError):
        read_labels(folder)


def test_a_label_must_say_of_what_and_be_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(folder), "--label", "a"]) == 2
    assert "--layer" in capsys.readouterr().err
    for wrong in ("a\nb", "a" * 300):
        with pytest.raises(ConfigError, match="the label"):
            write_label(folder, Labelled("donor", 1, 2), wrong)
    assert not (folder / LABELS).exists()
