"""The verdict of a transfer in one word, with its reason; nothing counts without evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conceptbasis.behaviors import Behavior
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.edits.intervention import strengthens
from conceptbasis.methods import METHODS, with_role
from conceptbasis.methods.routes import TRANSFER
from conceptbasis.methods.untouched import BASELINE
from conceptbasis.results.conditions import Condition, ConditionFigures
from conceptbasis.results.evaluation import CapabilityChange
from conceptbasis.results.summary import Verdict

_ENOUGH = 0.9
"""Share of native's reduction that a success needs."""
_SOME = 0.5
"""Share of native's reduction below which a transfer is a failure."""
_MAX_SPILLOVER = 0.05
"""Largest upper bound of spillover that a strengthened model may have."""

Changes = Mapping[str, CapabilityChange | None]


def judge_transfer(
    conditions: Sequence[Condition],
    capability_change: Changes,
    replay: ReplaySection,
    behavior: Behavior,
) -> Verdict:
    """One word and its reason: success, partial or failure.

    A success has a rate whose interval is disjoint from that of every control that can fail, at
    least 0.9 of native's reduction, and capability, measured, that is not inferior to the untouched
    target's; too few prompts to show that are no evidence. A run that strengthens the behavior is
    judged by a rate that does not fall and spillover that stays low.

    Args:
        conditions: Of the evaluation.
        capability_change: Paired changes of the evaluation.
        replay: Says which way the intervention goes.
        behavior: Gives the words of the reason.
    """
    figures = {condition.name: condition.figures for condition in conditions}
    native = next(method.name for method in with_role("native") if method.name in figures)
    needed = (BASELINE.name, TRANSFER.name, native)
    silent = [name for name in needed if figures[name].rate.interval is None]
    if silent:
        return _verdict("failure", [f"no answer under {', '.join(silent)} could be scored"])
    measured = _Measured(figures, native, behavior)
    problems = _capability_problems(capability_change)
    if strengthens(replay):
        return _judge_strengthening(measured, problems)
    return _judge_removal(measured, problems)


@dataclass(frozen=True)
class _Measured:
    """Rates by condition; the single direction is the bar, or what stands in for it."""

    figures: Mapping[str, ConditionFigures]
    native: str
    behavior: Behavior

    def rate(self, name: str) -> Interval:
        """The rate under a condition that could be scored."""
        rate = self.figures[name].rate.interval
        assert rate is not None
        return rate

    def is_scored(self, name: str) -> bool:
        """Whether a condition was measured and could be scored."""
        return name in self.figures and self.figures[name].rate.interval is not None

    @property
    def possible(self) -> float:
        """What native takes off the untouched rate."""
        return self.rate(BASELINE.name).value - self.rate(self.native).value

    def describe(self) -> str:
        """The rate before and after."""
        before, after = self.rate(BASELINE.name), self.rate(TRANSFER.name)
        return (
            f"{self.behavior.words.noun} {before.value:.2f} to {after.value:.2f} "
            f"[{after.low:.2f}, {after.high:.2f}]"
        )


def _judge_removal(measured: _Measured, problems: list[str]) -> Verdict:
    baseline, transfer = measured.rate(BASELINE.name), measured.rate(TRANSFER.name)
    possible = measured.possible
    share = (baseline.value - transfer.value) / possible if possible > 0 else 0.0
    silent = _silent_controls(measured)
    controls = [m.name for m in with_role("control") if m.name not in silent]
    missing = [name for name in controls if not measured.is_scored(name)]
    # Disjoint is not enough: a control that removes more than the transfer is not cleared.
    touching = [
        name
        for name in controls
        if name not in missing and transfer.high >= measured.rate(name).low
    ]
    reasons = [f"{measured.describe()}, {share:.0%} of native's reduction"]
    if touching:
        reasons.append("not clear of the controls " + ", ".join(touching))
    if missing:
        reasons.append("without the controls " + ", ".join(missing))
    reasons += problems
    if share >= _ENOUGH and len(reasons) == 1:
        reasons.append("clear of every control that can fail, capability not inferior")
        return _verdict("success", reasons + list(silent.values()))
    reasons += silent.values()
    return _verdict("partial" if share >= _SOME and not touching else "failure", reasons)


def _silent_controls(measured: _Measured) -> dict[str, str]:
    """Controls that cannot fail on this target, with the reason.

    Where the target's own directions still remove the behavior after they were displaced over the
    layers, they are alike at all of them, and displacing the transfer shows nothing.
    """
    found = {}
    for control in with_role("control"):
        check = control.checked_by
        if check is None or not measured.is_scored(check) or measured.possible <= 0:
            continue
        left = measured.rate(check).value
        if measured.rate(BASELINE.name).value - left >= _SOME * measured.possible:
            found[control.name] = (
                f"{control.name} says nothing here, since {measured.behavior.words.noun} is also "
                f"removed by {METHODS[check].label} (to {left:.2f})"
            )
    return found


def _judge_strengthening(measured: _Measured, problems: list[str]) -> Verdict:
    words = measured.behavior.words
    reasons = [measured.describe(), *problems]
    if measured.rate(TRANSFER.name).value < measured.rate(BASELINE.name).value:
        return _verdict(
            "failure", [*reasons, f"{words.noun} fell, though it was to be strengthened"]
        )
    over = [
        name
        for name, rate in measured.figures[TRANSFER.name].spillover.items()
        if rate is not None and rate.interval and rate.interval.high > _MAX_SPILLOVER
    ]
    if over:
        reasons.append(f"{words.spillover} above {_MAX_SPILLOVER:.0%} on " + ", ".join(over))
    return _verdict("partial" if over or problems else "success", reasons)


def _capability_problems(changes: Changes) -> list[str]:
    measured = {name: change for name, change in changes.items() if change is not None}
    if not measured:
        return ["capability was not measured, since no prompt has a known answer"]
    # Without random directions there is no range; the verdict names that they are missing.
    worse = [name for name, change in measured.items() if _is_inferior(change)]
    unclear = [
        f"{name} changed by {change.change.value:.2f} [{change.change.low:.2f}, "
        f"{change.change.high:.2f}], not resolved at n = {change.change.n}"
        for name, change in measured.items()
        if not change.non_inferior and name not in worse
    ]
    return (["inferior in " + ", ".join(worse)] if worse else []) + unclear


def _is_inferior(change: CapabilityChange) -> bool:
    """Surely lower, and perhaps by more than the margin; or lower than under random directions."""
    fell = not change.non_inferior and change.change.high < 0
    return fell or change.inside_random_range is False


def _verdict(word: str, reasons: list[str]) -> Verdict:
    return Verdict(word, "; ".join(reasons))
