"""How long a run takes: pieces of its work are timed on a sample, and counted.

The target reads no other texts than the sample, which stage `harvest` shows it and books. It
answers requests that it is expected to answer, and nothing else: no label of it is made here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import scipy.sparse
import torch

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.budgets import benign_classes, find_class, request_classes
from conceptbasis.config.run import RunConfig
from conceptbasis.core.features.partners import CodePair, best_partners, feature_stats
from conceptbasis.core.features.significance import shifts_needed
from conceptbasis.core.layers.alignment import depth_gaps
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.edits.guard import MAX_TEXTS
from conceptbasis.evaluation.trials import (
    Trial,
    evaluated_methods,
    outline_of,
    prompts_by_set,
    prompts_of,
)
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.text.chat import encode_texts
from conceptbasis.models.text.generation import complete, text_nll
from conceptbasis.study.study import Side

_ENOUGH = 1.5
"""Seconds after which a piece is long enough to be timed; a batch is doubled until then."""
_SITES = 8000
"""Sites on which a search for partners is timed; fewer would time its overhead."""
_UNDRAFTED = 0.3
"""Share of the answers under an edit that are neither those of the untouched target nor true."""
_REST = 1.2
"""All stages that are not timed, relative to reading and matching."""


@dataclass(frozen=True)
class Pieces:
    """Seconds of the target's and both models' work.

    Args:
        read: Reading a text at all layers, both models together.
        score: The log-likelihood of a text under the target.
        answer: Answering a prompt of which nothing is known.
        check: Answering a prompt whose answer was guessed.
        search: One search for partners, a site.
        encode: Codes of all layers with SAEs of both models, a site.
        n_live: Donor latents that fire in the sample.
    """

    read: float
    score: float
    answer: float
    check: float
    search: float
    encode: float
    n_live: int


def time_pieces(donor: Side, target: Side, config: RunConfig, sample: Sequence[Text]) -> Pieces:
    """Times each piece on a sample of texts; takes some seconds, a batch of each at most.

    Args:
        donor: The donor with its SAEs.
        target: The target with its SAEs.
        config: Settings.
        sample: Texts that the target will read anyway.
    """
    messages, n = [text.as_messages() for text in sample], len(sample)
    sides = (donor, target)
    residuals = [_read(side, messages) for side in sides]
    read = sum(_best(functools.partial(_read, side, messages)) for side in sides)
    with _threads_of_a_worker(config):
        score = _best(functools.partial(text_nll, target.loaded, messages, batch_size=128))
        asked = [_request(t) for t in sample if t.text_class in request_classes()]
        new = config.evaluate.max_new_tokens
        # Without requests in the sample a token that is written counts like one text that is read.
        answer, check = _answers(target, config, asked) if asked else (new * score / n, score / n)
        search, encode, n_live = _search(donor, target, config, residuals)
    return Pieces(read / n, score / n, answer, check, search, encode, n_live)


def estimate_seconds(
    pieces: Pieces,
    donor: Side,
    target: Side,
    suite: PromptSuite,
    config: RunConfig,
    texts: Sequence[Text],
    n_sites: int,
) -> float:
    """Sums up what a run does in which nothing is reused.

    Args:
        pieces: Seconds of each piece.
        donor: The donor with its SAEs.
        target: The target with its SAEs.
        suite: The prompts.
        config: Settings.
        texts: All shared texts.
        n_sites: Their shared sites.
    """
    near = depth_gaps(target.n_layers, donor.n_layers) <= config.align.max_depth_gap
    n_pairs = sum(bool(near[t, d]) for t in target.layers for d in donor.layers)
    fit, select, report = config.harvest.splits
    n_shifts = config.match.n_shifts or shifts_needed(max(1, pieces.n_live), fdr=config.match.fdr)
    searched = n_sites * (fit + select * (1 + n_shifts)) * n_pairs
    match = pieces.encode * n_sites + pieces.search * searched / config.n_workers
    known = (1 + _REST) * (pieces.read * len(texts) + match)
    allowed = {c for c in benign_classes() if find_class(c).needs == "B0"}
    n_benign = min(MAX_TEXTS, report * sum(text.text_class in allowed for text in texts))
    return known + _evaluation(pieces, suite, config, n_benign)


def _evaluation(pieces: Pieces, suite: PromptSuite, config: RunConfig, n_benign: float) -> float:
    """Seconds of the evaluation, and of the curve and the flows where they are wanted."""
    section, behavior = config.evaluate, find_behavior(config.behavior)
    sets = prompts_by_set(behavior, suite, section.n_prompts)
    given = (1 - _UNDRAFTED) * pieces.check + _UNDRAFTED * pieces.answer

    def trial(outline: Trial) -> float:
        n_prompts = sum(map(len, prompts_of(sets, outline).values()))
        return given * (n_prompts + 2 * section.n_kl_prompts) + pieces.score * n_benign

    methods = evaluated_methods(section)
    trials = 0.0
    for method in methods:
        n_draws, outline = outline_of(method, section, behavior)
        trials += n_draws * trial(outline)
    if config.curve.measure:
        n_methods = sum(method.at_equal_damage for method in methods)
        point = trial(Trial("point", n_prompts=config.curve.n_prompts))
        strength = (pieces.score + pieces.read) * n_benign
        n_points = len(config.curve.kl_levels) + 1
        trials += n_methods * (n_points * point + config.curve.n_strengths * strength)
    n_flows = config.flows.n_flows
    trials += (2 + 2 * n_flows if n_flows else 0) * trial(
        Trial("flow", n_prompts=config.flows.n_prompts)
    )
    first = pieces.answer * sum(map(len, sets.values()))
    return first + trials / config.n_workers


@contextmanager
def _threads_of_a_worker(config: RunConfig) -> Iterator[None]:
    """Processes that work side by side share the threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // config.n_workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _request(text: Text) -> str:
    content = text.content
    return content if isinstance(content, str) else content[0][1]


def _best(work: Callable[[], object]) -> float:
    """Seconds of the faster of two goes; the first of a model is slower than all others."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _read(side: Side, messages: list[str | list[dict[str, str]]]) -> torch.Tensor:
    """Residuals of all tokens at the middle one of the layers with SAEs, all of which are read."""
    side.loaded.show(messages)
    batch = encode_texts(side.loaded.tokenizer, messages, max_length=side.loaded.max_length)
    found = capture(side.loaded, batch.input_ids, batch.attention_mask, layers=side.layers)
    kept = found[side.layers[len(side.layers) // 2]]
    return kept[batch.attention_mask.bool().to(kept.device)].float().cpu()


def _answers(side: Side, config: RunConfig, requests: Sequence[str]) -> tuple[float, float]:
    """Seconds a prompt, without drafts and with its own answer as one."""
    section, n = config.evaluate, 8
    run = functools.partial(
        complete,
        side.loaded,
        max_new_tokens=section.max_new_tokens,
        batch_size=section.batch_size,
    )
    complete(side.loaded, [requests[0]], max_new_tokens=2)  # a warm-up
    while True:
        asked = [requests[i % len(requests)] for i in range(n)]
        started = time.perf_counter()
        found = run(asked)
        answer = time.perf_counter() - started
        if answer >= _ENOUGH or n >= section.batch_size:
            break
        n = min(2 * n, section.batch_size)
    drafts = [[tokens] if tokens else [] for tokens in found.tokens]
    started = time.perf_counter()
    run(asked, drafts=drafts)
    return answer / n, (time.perf_counter() - started) / n


def _search(
    donor: Side, target: Side, config: RunConfig, residuals: Sequence[torch.Tensor]
) -> tuple[float, float, int]:
    """Seconds a site of a search and of encoding at all layers, and live donor latents."""
    codes, encode = [], 0.0
    n = min(len(x) for x in residuals)
    for side, x in zip((donor, target), residuals, strict=True):
        sae = side.sae(side.layers[len(side.layers) // 2])
        started = time.perf_counter()
        codes.append(sae.encode_sparse(x[:n]))
        encode += (time.perf_counter() - started) / n * len(side.layers)
    live = len(set(codes[0].indices.tolist()))
    times = max(1, _SITES // n)
    pair = CodePair(*(scipy.sparse.vstack([z] * times, format="csr") for z in codes))

    def search() -> object:
        return best_partners([pair], *feature_stats([pair]), k=1, device=config.device)

    return _best(search) / (n * times), encode, live
