import numpy as np
import pytest
import scipy.sparse
import torch

from conceptbasis.core.features.evidence import spread_choice, trace_lines, word_separation


def test_words_of_firing_texts_stand_out_and_words_of_all_texts_do_not():
    fires = torch.tensor([[True], [True], [True], [True], [False], [False], [False], [False]])
    holds = np.array([[1, 1, 0]] * 4 + [[0, 1, 1]] * 4)
    z = word_separation(fires, scipy.sparse.csr_matrix(holds))[0]
    assert z[0] > 2
    assert z[1] == pytest.approx(0, abs=1e-6)
    assert z[2] == pytest.approx(-float(z[0]))


def test_separation_is_the_log_odds_ratio_over_its_standard_error():
    fires = torch.tensor([[True]] * 10 + [[False]] * 20)
    holds = np.array([[1]] * 7 + [[0]] * 3 + [[1]] * 4 + [[0]] * 16)
    odds = np.log(7.5 / 3.5) - np.log(4.5 / 16.5)
    error = np.sqrt(1 / 7.5 + 1 / 3.5 + 1 / 4.5 + 1 / 16.5)
    z = word_separation(fires, scipy.sparse.csr_matrix(holds))
    assert float(z) == pytest.approx(odds / error, rel=1e-6)


def test_an_atom_that_always_or_never_fires_has_finite_scores():
    fires = torch.tensor([[True, False]] * 5)
    holds = scipy.sparse.csr_matrix(np.ones((5, 2)))
    assert torch.isfinite(word_separation(fires, holds)).all()


def test_contexts_come_from_the_top_and_from_lower_quantiles():
    peaks = torch.tensor([0.0, 5.0, 1.0, 0.0, 9.0, 3.0, 7.0, 2.0])
    chosen = spread_choice(peaks, n_top=2, quantiles=(0.5, 0.0))
    assert [text for text, _ in chosen] == [4, 6, 5, 2]
    assert [quantile for _, quantile in chosen] == pytest.approx([1.0, 0.8, 0.4, 0.0])


def test_every_text_is_chosen_once_and_silent_texts_never():
    assert spread_choice(torch.tensor([0.0, 2.0]), n_top=3, quantiles=(0.5,)) == [(1, 1.0)]
    assert spread_choice(torch.zeros(4), n_top=3, quantiles=(0.5,)) == []


def test_lines_follow_mutual_best_rows_and_break_elsewhere(generator):
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    turned = torch.nn.functional.normalize(basis[0] + 0.5 * basis[4], dim=0)
    layers = [basis[:2], torch.stack([basis[3], turned]), basis[[0, 5]]]
    lines = trace_lines(layers, min_similarity=0.8)
    places = [[(step.place, step.row) for step in line] for line in lines]
    assert places == [[(0, 0), (1, 1), (2, 0)], [(0, 1)], [(1, 0)], [(2, 1)]]
    assert lines[0][0].similarity is None
    assert lines[0][1].similarity == pytest.approx(float(basis[0] @ turned), abs=1e-5)


def test_a_layer_without_atoms_ends_all_lines():
    row = torch.eye(3)[:1]
    lines = trace_lines([row, torch.zeros(0, 3), row], min_similarity=0.5)
    assert [len(line) for line in lines] == [1, 1]
