"""Training finds structure, its sparse step is sae-lens's step, and a killed run goes on."""

import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from conceptbasis.errors import SaeError
from conceptbasis.saes.loading import load_sae_folder
from conceptbasis.saes.sae import SaePlace, import_sae_lens
from conceptbasis.saes.step import dense_activations, training_classes
from conceptbasis.saes.training import SaeTrainingSettings, train_saes

D_MODEL, LAYERS, N = 16, [0, 3], 4000
SETTINGS = SaeTrainingSettings(
    d_sae=48,
    k=3,
    n_steps=120,
    batch_size=128,
    lr=5e-3,
    lr_warm_up_steps=5,
    lr_decay_steps=30,
    dead_feature_window=20,
)
HOOKS = {layer: f"blocks.{layer}.hook_resid_post" for layer in LAYERS}


def _activations(n, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, 32, D_MODEL, generator=torch.Generator().manual_seed(9))
    rows = rows / rows.norm(dim=-1, keepdim=True)
    strengths = 1 + torch.rand(n, 32, generator=generator)
    codes = (torch.rand(n, 32, generator=generator) < 3 / 32) * strengths
    noise = 0.02 * torch.randn(n, D_MODEL, generator=generator)
    return {layer: codes @ rows[i] * 4 + 5 + noise for i, layer in enumerate(LAYERS)}


@pytest.fixture(scope="module")
def pool():
    return _activations(N, 1)


@pytest.fixture(scope="module")
def heldout():
    return _activations(1000, 2)


class Killed(Exception):
    pass


def _train(pool, heldout, settings=SETTINGS, kill_at=None, **options):
    starts = []

    def stream(start):
        starts.append(start)
        for step in range(start, settings.n_steps):
            if step == kill_at:
                raise Killed
            generator = torch.Generator().manual_seed(step)
            rows = torch.randint(0, N, (settings.batch_size,), generator=generator)
            yield {layer: x[rows] for layer, x in pool.items()}

    trained = train_saes(
        stream,
        d_model=D_MODEL,
        layers=LAYERS,
        settings=settings,
        hook_names=HOOKS,
        model_name="tiny",
        heldout=heldout,
        **options,
    )
    return trained, starts


@pytest.fixture(scope="module", params=["batchtopk", "topk"])
def trained(request, pool, heldout):
    return _train(pool, heldout, replace(SETTINGS, architecture=request.param))[0]


def test_training_explains_the_held_out_variance_at_the_wanted_l0(trained):
    for sae in trained.values():
        assert sae.metrics.explained_variance > 0.6
        assert sae.metrics.l0 == pytest.approx(3, abs=0.05)
        assert sae.metrics.dead_share < 0.5


def test_saved_folder_opens_and_gives_the_same_figures(trained, heldout, tmp_path):
    for layer, sae in trained.items():
        path = sae.save(tmp_path)
        assert path.name == f"layer_{layer:02d}"
        loaded = load_sae_folder(path, SaePlace(D_MODEL, layer, "resid_post", "tiny"))
        x = heldout[layer]
        error = (x - loaded.reconstruct(x)).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        assert 1 - float(error) == pytest.approx(sae.metrics.explained_variance, abs=1e-3)
        l0 = loaded.encode_sparse(x).nnz / len(x)
        assert l0 == pytest.approx(sae.metrics.l0, abs=0.05)
        assert loaded.trained_on == "tiny"


@pytest.mark.parametrize("architecture", ["batchtopk", "topk"])
def test_a_killed_training_ends_where_it_would_have_ended(pool, heldout, tmp_path, architecture):
    settings = replace(SETTINGS, architecture=architecture, n_steps=60)
    whole, _ = _train(pool, heldout, settings)
    options = {"checkpoint_dir": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(Killed):
        _train(pool, heldout, settings, kill_at=43, **options)
    files = [path.name for path in tmp_path.iterdir()]
    assert files == ["training.safetensors"]
    load_file(tmp_path / files[0])
    resumed, starts = _train(pool, heldout, settings, **options)
    assert starts == [43]
    for layer in LAYERS:
        for name, value in whole[layer].sae.state_dict().items():
            assert torch.equal(value, resumed[layer].sae.state_dict()[name]), name
        assert whole[layer].metrics == resumed[layer].metrics
    assert not list(tmp_path.iterdir())


def test_a_foreign_or_broken_checkpoint_is_refused(pool, heldout, tmp_path):
    settings = replace(SETTINGS, n_steps=40)
    options = {"checkpoint_dir": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(Killed):
        _train(pool, heldout, settings, kill_at=3, **options)
    with pytest.raises(SaeError, match="another training"):
        _train(pool, heldout, replace(settings, k=4), **options)
    (tmp_path / "training.safetensors").write_bytes(pickle.dumps({"step": 3}))
    with pytest.raises(SaeError, match="not a readable"):
        _train(pool, heldout, settings, **options)


@pytest.mark.parametrize("architecture", ["batchtopk", "topk"])
@pytest.mark.parametrize(("n_dead", "n_threads"), [(0, 1), (0, 3), (5, 1), (20, 1)])
def test_sparse_step_is_the_step_of_sae_lens(pool, architecture, n_dead, n_threads, monkeypatch):
    import_sae_lens()
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    from sae_lens.saes.sae import TrainStepInput

    sparse_class, config_class = training_classes()[architecture]
    dead = torch.zeros(48, dtype=torch.bool)
    dead[:n_dead] = True
    results = []
    for sae_class in (sparse_class, sparse_class.__mro__[1]):
        torch.manual_seed(0)
        sae = sae_class(config_class(d_in=D_MODEL, d_sae=48, k=3))
        sae.b_enc.data.normal_()
        sae.b_dec.data.normal_()
        sae.W_enc.data.normal_()
        output = sae.training_forward_pass(
            TrainStepInput(
                sae_in=pool[0][:64],
                coefficients={},
                dead_neuron_mask=dead,
                n_training_steps=0,
                is_logging_step=False,
            )
        )
        output.loss.backward()
        results.append((output, sae))
    (ours, sparse), (theirs, parent) = results
    torch.testing.assert_close(ours.loss, theirs.loss)
    torch.testing.assert_close(dense_activations(ours), theirs.feature_acts)
    torch.testing.assert_close(ours.sae_out, theirs.sae_out)
    assert (ours.metrics["fire_counts"] == (theirs.feature_acts > 0).sum(0)).all()
    for name, parameter in sparse.named_parameters():
        expected = dict(parent.named_parameters())[name].grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4)
    if architecture == "batchtopk":
        torch.testing.assert_close(sparse.topk_threshold, parent.topk_threshold)


def test_progress_is_reported(pool, heldout):
    seen = []
    _train(pool, heldout, replace(SETTINGS, n_steps=40), on_step=lambda *a: seen.append(a))
    assert [step for step, _, _ in seen] == list(range(1, 41))
    assert not any(metrics for step, _, metrics in seen if step % 20)
    first, last = seen[19][2], seen[39][2]
    for name in ("losses/overall_loss", "metrics/explained_variance", "sparsity/dead_features"):
        assert {f"layer_00/{name}", f"layer_03/{name}"} <= set(first)
    assert last["layer_00/losses/mse_loss"] < first["layer_00/losses/mse_loss"]
    assert last["throughput/sites_per_second"] > 0


def test_global_random_state_is_left_alone(pool, heldout):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    _train(pool, heldout, replace(SETTINGS, n_steps=35))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 48}, "k = 48"),
        ({"n_steps": 10}, "warm-up and decay"),
        ({"architecture": "relu"}, "'relu'"),
    ],
)
def test_impossible_settings(pool, heldout, change, message):
    with pytest.raises(SaeError, match=message):
        _train(pool, heldout, replace(SETTINGS, **change))


def test_bad_streams(pool, heldout):
    with pytest.raises(SaeError, match="held-out activations of layer 3"):
        _train(pool, {0: heldout[0]})
    short = {layer: x[:, :8] for layer, x in pool.items()}
    with pytest.raises(SaeError, match=r"\(128, 8\) for layer 0"):
        _train(short, heldout)
    broken = {layer: x.clone() for layer, x in pool.items()}
    broken[3][:] = float("nan")
    with pytest.raises(SaeError, match="loss of layer 3 is nan"):
        _train(broken, heldout)
    with pytest.raises(SaeError, match="ended after 0 steps"):
        train_saes(
            lambda start: iter(()),
            d_model=D_MODEL,
            layers=LAYERS,
            settings=SETTINGS,
            hook_names=HOOKS,
            model_name="tiny",
            heldout=heldout,
        )
