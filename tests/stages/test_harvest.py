"""Sites that both tokenizers share, whatever stands in the text; outliers, splits, NaN."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from micro import QUIET
from steps import Steps

from conceptbasis.config.budgets import find_class
from conceptbasis.data.prompts import Text
from conceptbasis.data.texts import choose_texts
from conceptbasis.errors import NumericsError, PromptError
from conceptbasis.models.stream import residuals as residuals_stage
from conceptbasis.models.stream.residuals import Residuals, read_residuals
from conceptbasis.models.text.chat import encode_texts, render
from conceptbasis.results.harvest import Norms, Shown
from conceptbasis.runs.progress import Reporter
from conceptbasis.stages.harvest import harvest
from conceptbasis.study.shared_sites import align_sites
from conceptbasis.study.sites import Sites

STRANGE = (
    "where is the café in the forest ?",
    "nai\u0308ve cafe\u0301 , déjà vu .",
    "the robin 🙂 saw 👩‍🚀 the owl 🇫🇷 .",
    "two   spaces     and \t a tab \n and a line .",
    "  spaces around  ",
    "日本語 と rose",
    "user assistant [INST] <s>",
)


def chat(content: str) -> Text:
    return Text((("user", content), ("assistant", f"{content} yes .")), "chat")


def residuals_of(side, texts, **changes):
    options = {"batch_size": 3, "end_of_prompt": True, "reporter": QUIET, "label": ""}
    return read_residuals(side.loaded, texts, [0, 2], **{**options, **changes})


# Alignment


@pytest.mark.parametrize("content", STRANGE)
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_every_site_ends_at_the_same_character_in_both_models(sides, content, form):
    text = Text(content, "mentions") if form == "plain" else chat(content)
    messages = text.as_messages()
    contents = [content] if form == "plain" else [m["content"] for m in messages]
    keys = {}
    for name, side in (("donor", sides.donor), ("target", sides.target)):
        tokenizer = side.loaded.tokenizer
        encoded = encode_texts(tokenizer, [messages], end_of_prompt=True)
        keys[name] = [k for k in encoded.site_keys[0] if k is not None]
        assert len(set(keys[name])) == len(keys[name])
        rendered = (
            content if form == "plain" else render(tokenizer, messages, add_generation_prompt=False)
        )
        offsets = tokenizer(
            rendered, add_special_tokens=form == "plain", return_offsets_mapping=True
        )["offset_mapping"]
        starts, position = [], 0
        for part in contents:
            position = rendered.index(part, position)
            starts.append(position)
            position += len(part)
        for token, key in enumerate(encoded.site_keys[0]):
            if key is not None and key[1] > 0:
                message, n_read = key
                prefix = rendered[starts[message] : offsets[token][1]]
                assert prefix == contents[message][:n_read]
    shared = set(keys["donor"]) & set(keys["target"])
    assert shared
    assert (0, len(content.rstrip())) in shared
    assert shared < set(keys["donor"]) | set(keys["target"])
    if form == "chat":
        assert (1, 0) in shared


def test_donor_and_target_split_words_differently(sides):
    words = [side.loaded.tokenizer.tokenize("people keep napalm") for side in vars(sides).values()]
    assert words[0] != words[1]


def test_sites_hold_the_residuals_of_their_own_prefix(sides):
    """A causal model gives the same residual for the text cut off at the site."""
    text = "where is the café in the forest ?"
    cut = "where is the café"
    for side in (sides.donor, sides.target):
        whole = residuals_of(side, [Text(text, "mentions"), Text("a bird .", "mentions")])
        short = residuals_of(side, [Text(cut, "mentions")])
        here, there = whole.sites.index((0, 0, len(cut))), short.sites.index((0, 0, len(cut)))
        assert torch.allclose(whole.values[2][here], short.values[2][there], atol=1e-4)
        other = whole.sites.index((0, 0, len("where is the")))
        assert not torch.allclose(whole.values[2][other], short.values[2][there], atol=1e-2)


def test_order_of_sites_does_not_depend_on_batches(sides):
    texts = [chat(c) for c in STRANGE]
    one, many = (residuals_of(sides.target, texts, batch_size=n) for n in (1, 7))
    assert list(one.sites) == list(many.sites) == sorted(one.sites)
    assert torch.allclose(one.values[2], many.values[2], atol=1e-4)


def test_end_of_prompt_is_a_site_only_when_asked_for(sides):
    texts = [chat("what is a rose ?")]
    with_end, without = (
        {s for s in residuals_of(sides.donor, texts, end_of_prompt=asked).sites if s[2] == 0}
        for asked in (True, False)
    )
    assert with_end == {(0, 1, 0)}
    assert without == set()


def test_shares_are_reported_for_both_sides(make_study, finished):
    study = make_study()
    steps = Steps(study)
    harvest, share = steps.harvest, steps.harvest.aligned_share
    n_sites = harvest.n_sites + sum(harvest.dropped.values())
    for name, side in (("donor", study.donor), ("target", study.target)):
        read = residuals_of(side, steps.sites.texts, batch_size=128)
        assert share[name] == pytest.approx(n_sites / len(read.sites), abs=0.01)
        assert 0.3 < share[name] <= 1
    assert share["donor"] != share["target"]
    assert n_sites == sum(harvest.splits.values())
    assert sum(row.sites for row in harvest.shown) == harvest.n_sites


def test_no_shared_site_is_an_error(make_study, monkeypatch):
    real = residuals_stage.encode_texts

    def shifted(tokenizer, texts, **keywords):
        encoded = real(tokenizer, texts, **keywords)
        if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece":
            moved = [[k and (k[0] + 50, k[1]) for k in row] for row in encoded.site_keys]
            return replace(encoded, site_keys=moved)
        return encoded

    monkeypatch.setattr(residuals_stage, "encode_texts", shifted)
    study = make_study()
    with pytest.raises(PromptError, match="no site is shared by donor and target"):
        _ = Steps(study).harvest
    assert study.ledger.shown == ()


# Outliers


def planted(n: int = 200, scale: float = 1.0, at: int = 3, layer: int = 0) -> Residuals:
    """Unit residuals of two layers, but for one site at one layer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, n, 8, generator=generator)
    x = x / x.norm(dim=2, keepdim=True)
    x[layer, at] *= scale
    norms = {i: Norms(float(r.median()), float(r.max())) for i, r in enumerate(x.norm(dim=2))}
    return Residuals(dict(enumerate(x)), [(i // 4, 0, i % 4 + 1) for i in range(n)], norms)


@pytest.mark.parametrize(
    ("donor", "target", "dropped"),
    [
        (1.0, 1.0, {"donor": 0, "target": 0}),
        (7.9, 1.0, {"donor": 0, "target": 0}),
        (8.1, 1.0, {"donor": 1, "target": 0}),
        (1.0, 50.0, {"donor": 0, "target": 1}),
        (50.0, 50.0, {"donor": 1, "target": 1}),
    ],
)
def test_outlier_norms_are_dropped_from_both_sides_and_counted(
    ready, tmp_path, donor, target, dropped
):
    texts = [Text(str(i), "chat") for i in range(50)]
    read = {"donor": planted(scale=donor), "target": planted(scale=target)}
    found = align_sites(tmp_path, ready.config(), texts, read)
    assert found.dropped == dropped
    assert found.left_out == max(dropped.values())
    n = 200 - max(dropped.values())
    assert found.n_sites == len(found.text) == n
    assert found.shown == (Shown("chat", 50, n),)
    sites = set(zip(found.text.tolist(), found.offset.tolist(), strict=True))
    assert ((0, 4) in sites) is (n == 200)


def test_an_outlier_of_one_layer_of_one_model_is_left_out_at_every_layer_of_both(ready, tmp_path):
    texts = [Text(str(i), "chat") for i in range(50)]
    read = {"donor": planted(scale=50.0), "target": planted(scale=50.0, at=9, layer=1)}
    found = align_sites(tmp_path, ready.config(), texts, read)
    assert found.dropped == {"donor": 1, "target": 1}
    assert found.left_out == 2
    kept = [i for i in range(200) if i not in (3, 9)]
    sites = Sites.of(found, tmp_path, texts)
    for side in ("donor", "target"):
        for layer in (0, 1):
            assert torch.equal(sites.residuals(side, layer), read[side].values[layer][kept])
    everything = align_sites(tmp_path, ready.config(harvest={"max_norm_ratio": 60.0}), texts, read)
    assert (everything.left_out, everything.n_sites) == (0, 200)


def test_the_harvest_says_how_many_sites_are_left_out(make_study, capsys):
    study = replace(make_study(harvest={"max_norm_ratio": 1.3}), reporter=Reporter())
    found = harvest(study)
    assert 0 < found.left_out < found.n_sites + found.left_out
    said = capsys.readouterr().err
    assert f"harvest: {found.left_out:,} of {found.n_sites + found.left_out:,} shared sites" in said
    assert f"{found.dropped['donor']:,} of the donor" in said


def test_layers_that_are_read_later_leave_out_the_same_sites_at_all_of_them(make_study, sides):
    study = make_study()
    steps = Steps(study)
    ends = {}
    for ratio in (1.1, 100.0):
        sites = replace(steps.sites, read_layers={"target": [0]}, norms={})
        section = study.config.harvest.model_copy(update={"max_norm_ratio": ratio})
        sites.read_missing_layers(sides.target.loaded, section, "ends", QUIET)
        ends[ratio] = [sites.reported_ends(layer) for layer in (1, 2)]
        for x, layer in zip(ends[ratio], (1, 2), strict=True):
            assert float(x.norm(dim=1).max()) <= (sites.sink_bound(layer, ratio) or 1e9)
    few, all_of_them = ends[1.1], ends[100.0]
    assert len(few[0]) == len(few[1]) < len(all_of_them[0]) == len(all_of_them[1])
    assert len(few[0]) > 0


def test_the_centre_of_all_positions_is_the_same_read_again_and_not_that_of_the_ends(
    make_study, sides
):
    study = make_study()
    whole = Steps(study).sites
    part = replace(whole, read_layers={"target": [0]})
    section = study.config.harvest.model_copy(update={"max_norm_ratio": 100.0})
    part.read_missing_layers(sides.target.loaded, section, "all", QUIET)
    rows = whole.benign_rows
    for layer in (1, 2):
        expected = whole.residuals("target", layer)[rows].mean(0)
        for sites in (whole, part):
            torch.testing.assert_close(sites.centre(layer, "all"), expected, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(
                sites.centre(layer, "ends"),
                whole.reported_ends(layer).mean(0),
                rtol=1e-3,
                atol=1e-3,
            )
        assert not torch.allclose(expected, whole.centre(layer, "ends"), atol=1e-2)


# Splits


def test_splits_are_by_text_and_disjoint(make_study):
    sites = Steps(make_study()).sites
    texts = {s: set(sites.text[sites.rows(s)].tolist()) for s in ("fit", "select", "report")}
    assert not texts["fit"] & texts["select"]
    assert not texts["fit"] & texts["report"]
    assert not texts["select"] & texts["report"]
    n = len(set(sites.text.tolist()))
    assert sum(len(group) for group in texts.values()) == n
    assert len(texts["fit"]) / n == pytest.approx(0.6, abs=0.03)
    contents = [{t.content for t in sites.split_texts(s)} for s in texts]
    assert not contents[0] & contents[1]
    assert not contents[0] & contents[2]


def test_no_text_is_chosen_twice_and_small_classes_are_kept(ready):
    texts = choose_texts(ready.suite.texts_for("B0d"), 200, 0)
    assert len({t.content for t in texts}) == len(texts) <= 200
    assert {t.text_class for t in texts} == {
        t.text_class for t in ready.suite.texts if find_class(t.text_class).needs in ("B0", "B0d")
    }
    assert choose_texts(ready.suite.texts_for("B0d"), 200, 0) == texts
    assert choose_texts(ready.suite.texts_for("B0d"), 200, 1) != texts


# Numbers that are not finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_named_by_model_and_layer(sides, bad):
    from conceptbasis.models.stream.hooks import splice

    def spoil(h):
        h = h.clone()
        h[0, 1:, 0] = bad
        return h

    with (
        splice(sides.target.loaded, {2: spoil}),
        pytest.raises(NumericsError, match="after layer 2 contain NaN or infinity") as caught,
    ):
        residuals_of(sides.target, [chat("what is a rose ?")])
    assert sides.target.loaded.name in caught.value.what
    residuals_of(sides.target, [chat("what is a rose ?")])


def test_text_longer_than_the_context_is_an_error(sides):
    with pytest.raises(PromptError, match="tokens") as caught:
        residuals_of(sides.donor, [chat("rose " * 120)])
    assert "at most 96" in caught.value.expected


# Groups of layers


def harvested(make_study, **section):
    study = make_study(harvest=section)
    _ = Steps(study).harvest
    folder = study.folder / "harvest"
    assert not list(study.folder.glob("harvest-*")), "spilled residuals were left behind"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_groups_of_layers_leave_the_same_files(make_study, monkeypatch):
    """Also: no more layers are read at once than asked for."""
    asked = []
    read = residuals_stage.read_residuals
    monkeypatch.setattr(
        residuals_stage,
        "read_residuals",
        lambda loaded, texts, layers, **more: (
            asked.append(list(layers)) or read(loaded, texts, layers, **more)
        ),
    )
    whole = harvested(make_study)
    assert asked == [[0, 1, 2, 3], [0, 1, 2]]
    asked.clear()
    study = make_study(harvest={})
    shutil.rmtree(study.folder / "harvest")
    assert harvested(make_study, layers_at_once=2) == whole
    assert asked == [[0, 1], [2, 3], [0, 1], [2]]


def test_another_group_size_is_no_reason_to_read_again(make_study, monkeypatch):
    harvested(make_study)

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(residuals_stage, "read_residuals", fail)
    harvested(make_study, layers_at_once=1)
    with pytest.raises(AssertionError, match="read again"):
        harvested(make_study, layers_at_once=1, n_texts=50)


# Storage


@pytest.mark.parametrize(("storage", "bound"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_narrow_storage_halves_the_files_and_keeps_residuals_to_its_digits(
    make_study, storage, bound
):
    wide = Steps(make_study())
    sizes = {name: file.bytes for name, file in wide.harvest.files.items()}
    exact = wide.sites.residuals("donor", 1).clone()
    narrow = Steps(make_study(harvest={"storage": storage}))
    for name, file in narrow.harvest.files.items():
        assert file.bytes == pytest.approx(sizes[name] / 2, rel=0.01)
    assert narrow.graph.done["harvest"].hash != wide.graph.done["harvest"].hash
    found = narrow.sites.residuals("donor", 1)
    assert found.dtype == torch.float32
    off = ((found - exact).abs() / exact.abs().clamp_min(1e-3)).max()
    assert 0 < float(off) <= bound


def test_residuals_beyond_half_precision_are_an_error(ready, tmp_path):
    large = planted()
    norms = {layer: Norms(1e6, 1e6) for layer in (0, 1)}
    large = Residuals({n: x * 1e6 for n, x in large.values.items()}, large.sites, norms)
    texts = [Text(str(i), "chat") for i in range(50)]
    read = {"donor": planted(), "target": large}
    with pytest.raises(NumericsError, match="target layer 0 exceed"):
        align_sites(tmp_path, ready.config(harvest={"storage": "float16"}), texts, read)
    align_sites(tmp_path, ready.config(harvest={"storage": "bfloat16"}), texts, read)
