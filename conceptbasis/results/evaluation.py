"""What stages `methods`, `evaluate` and `curve` leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.results.conditions import Condition, ConditionFigures
from conceptbasis.results.direction import Selection

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class FittedLayer:
    """What a method gave at one layer.

    Args:
        target: Target layer.
        donor: Donor layer.
        ridge: Chosen ridge, None where there is none to choose.
        selection: Agreement on the sites of the choices.
        agreement: Agreement on sites that nothing was chosen on.
        details: Further figures of the method.
    """

    target: int
    donor: int
    ridge: float | None
    selection: float
    agreement: float
    details: Mapping[str, float]


@dataclass(frozen=True)
class FittedMethod:
    """The directions of one method, by layer; or the reason why it has none.

    Args:
        name: Of the registered method.
        layers: Layers it has a direction for.
        directions: Unit directions, one row per entry of `layers`; None with a reason.
        means: Benign means of its own replay form, None where the run measures them.
        reason: Why it is left out, None where it is not.
        notes: What is worth reading about it.
    """

    name: str
    layers: tuple[FittedLayer, ...]
    directions: Float[Tensor, "n_fitted d_target"] | None
    means: Float[Tensor, "n_fitted d_target"] | None
    reason: str | None
    notes: Mapping[str, object]


@dataclass(frozen=True)
class Baselines:
    """Every method that moves the direction by other means than matched latents."""

    methods: tuple[FittedMethod, ...]


@dataclass(frozen=True)
class CapabilityChange:
    """Paired change of a capability, and where it lies among random directions.

    Args:
        change: After less before.
        non_inferior: Whether the lower end is above −margin.
        random_range: 5 % and 95 % quantile of random directions; None without them.
        inside_random_range: Whether the change reaches that range; None without it.
    """

    change: Interval
    non_inferior: bool
    random_range: tuple[float, float] | None
    inside_random_range: bool | None


@dataclass(frozen=True)
class Kappa:
    """Agreement of two judges (Cohen 1960).

    Args:
        judges: Their names.
        kappa: None where a judge is constant.
        low: Lower bound, None with kappa.
        high: Upper bound, None with kappa.
        same: Share of equal verdicts.
        n: Answers that both scored.
        unscored: Answers that one of them did not.
    """

    judges: tuple[str, str]
    kappa: float | None
    low: float | None
    high: float | None
    same: float | None
    n: int
    unscored: int


@dataclass(frozen=True)
class BatchFlips:
    """Verdicts and answers that move with the batch size."""

    batch_sizes: tuple[int, ...]
    n: int
    verdicts: int
    answers: int


@dataclass(frozen=True)
class LengthRates:
    """The rate on positive prompts over the length of an answer: prefixes of one generation.

    Args:
        condition: Under which it was measured.
        n_tokens: Lengths of the prefixes.
        rates: One for each.
    """

    condition: str
    n_tokens: tuple[int, ...]
    rates: tuple[Rate, ...]


@dataclass(frozen=True)
class GroupRate:
    """The rate on the prompts of one set that share something.

    Args:
        condition: Under which it was measured.
        prompts: Short name of the set.
        shared: What they share: `topic`, `kind` or `wording`.
        group: The topic word, the kind, or the wording; a wording that only positive prompts have
            is a number.
        rate: With Wilson's interval, of the first draw.
    """

    condition: str
    prompts: str
    shared: str
    group: str
    rate: Rate


@dataclass(frozen=True)
class Example:
    """An answer to a positive prompt, the prompt redacted."""

    condition: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Evaluation:
    """Every condition, measured after the transfer was sealed.

    Args:
        primary_judge: Whose rate counts.
        conditions: In the order of measurement.
        capability_change: By task; None where the truth is unknown.
        agreement_of_judges: Of every pair.
        batch_flips: None in float32, where no verdict moves.
        native_selection: Table and pick of the target's own direction.
        hashes: Of the sealed artifacts.
        left_out: Methods that were not measured, with the reason.
        by_length: The rate over the length of the answer, where `evaluate.lengths` asks for it.
        examples: First answers under a few conditions.
        verdicts: By condition and set, one number per prompt of the first draw: 1 shown, 0 not,
            −1 unscored.
        native: The target's own directions by condition, one row per layer.
        native_layers: Where they are taken out: at every layer, or at the middle ones.
        behavior_tokens: First tokens that positive prompts make likelier in the target.
        by_group: Rates by topic word, kind and wording of the prompts; empty in older runs.
    """

    primary_judge: str
    conditions: tuple[Condition, ...]
    capability_change: Mapping[str, CapabilityChange | None]
    agreement_of_judges: tuple[Kappa, ...]
    batch_flips: BatchFlips | None
    native_selection: Selection
    hashes: Mapping[str, str]
    left_out: Mapping[str, str]
    by_length: tuple[LengthRates, ...]
    examples: tuple[Example, ...]
    verdicts: Mapping[str, Int[Tensor, " n_prompts"]]
    native: Mapping[str, Float[Tensor, "n_layers d_target"]]
    native_layers: tuple[int, ...]
    behavior_tokens: Int[Tensor, " n_tokens"]
    by_group: tuple[GroupRate, ...] = ()


@dataclass(frozen=True)
class CurvePoint:
    """A method at one level of damage.

    Args:
        measure: `kl` or `perplexity`.
        level: The level.
        strength: The strength that does it.
        reached: Whether full strength does that much damage.
        figures: What was measured there.
    """

    measure: str
    level: float
    strength: float
    reached: bool
    figures: ConditionFigures


@dataclass(frozen=True)
class Calibration:
    """Damage of a method over strengths, on benign text."""

    strength: tuple[float, ...]
    kl: tuple[float, ...]
    perplexity_rise: tuple[float, ...]


@dataclass(frozen=True)
class MethodCurve:
    """One method of the curve.

    Args:
        method: Its name.
        calibration: Damage by strength.
        points: Measured levels.
        area: Mean rate over √KL.
        area_less_transfer: Paired difference of areas.
        rate_at_native_half: Rate where the native direction leaves half; None if undefined.
    """

    method: str
    calibration: Calibration
    points: tuple[CurvePoint, ...]
    area: Interval | None
    area_less_transfer: Interval | None
    rate_at_native_half: float | None


@dataclass(frozen=True)
class Curve:
    """The behavior's rate at equal damage.

    Args:
        kl_levels: Levels of benign first-token KL, nats.
        perplexity_rise: The level of perplexity.
        untouched: Figures without an edit.
        native_half_kl: Damage at which native leaves half; None if it never does.
        methods: One curve each.
    """

    kl_levels: tuple[float, ...]
    perplexity_rise: float
    untouched: ConditionFigures
    native_half_kl: float | None
    methods: tuple[MethodCurve, ...]
