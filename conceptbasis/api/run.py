"""A finished run as one object: its frames, its directions, its edit on a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from conceptbasis.api import frames
from conceptbasis.evaluation.metrics import view_of
from conceptbasis.results.summary import Summary
from conceptbasis.runs.files import check_run_folder
from conceptbasis.runs.summary import read_summary

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike
    from pandas import DataFrame
    from torch import Tensor

    from conceptbasis.models.stream.edit_report import EditReport
    from conceptbasis.results.harvest import SideName

OwnDirections: TypeAlias = "Mapping[int, ArrayLike] | ArrayLike"
"""Directions of a user's own: one by edited layer, or one for all edited layers."""


def load_run(folder: str | PathLike[str]) -> Run:
    """Opens a finished run; nothing but its summary is read before it is asked for.

    Args:
        folder: A run folder, such as `runs/demo`.

    Raises:
        ArtifactError: if there is no run, or its files are corrupt.

    Example:
        >>> run = cb.load_run("runs/demo")
        >>> run.summary.verdict.word in ("success", "partial", "failure")
        True
    """
    path = Path(folder)
    check_run_folder(path)
    return Run(path, read_summary(path))


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run. Frames are read once and kept.

    Args:
        folder: Where it lies.
        summary: Its verdict, sides, settings and conditions, as dataclasses.

    Example:
        >>> run = cb.load_run("runs/demo")
        >>> print(run)
        Run('runs/demo': ... -> ..., ...)
    """

    folder: Path
    summary: Summary

    @cached_property
    def recipe(self) -> DataFrame:
        """The recipe: one row per donor atom of each mapped target layer.

        Columns: `layer` (target layer), `donor_layer`, `latent`, its signed `coefficient` with
        bootstrap bounds `low` and `high`, the `frequency` with which resamples choose it and
        whether it is `unstable`, its `share` of the layer's Σ|coefficient|, firing `density`, its
        best match `target_latent` with held-out correlation `r_heldout` beside the `null`'s 95 %
        quantile, and automatic labels of both.

        Example:
            >>> top = cb.load_run("runs/demo").recipe.nlargest(3, "coefficient")
            >>> list(top[["layer", "latent", "label"]].columns)
            ['layer', 'latent', 'label']
        """
        return frames.recipe_frame(self.folder)

    @cached_property
    def atoms(self) -> DataFrame:
        """What latents stand for: one row per latent of the recipe, on both sides.

        Columns: `layer`, `donor_layer`, `side` (`donor` or `target`), `latent`, `label`,
        `density`, what it `fires_on`, `in` which classes of text, `words`, tokens it `promotes`
        and `suppresses`, and its highest `example`, redacted where its text is hidden. Empty
        where stage `atoms` did not run.

        Example:
            >>> atoms = cb.load_run("runs/demo").atoms
            >>> sorted(atoms.side.unique())
            ['donor', 'target']
        """
        return frames.atoms_frame(self.folder)

    @cached_property
    def conditions(self) -> DataFrame:
        """Every figure of every condition: one row per condition.

        Columns are pairs (figure, bound); bounds are `value` and, where an interval is known,
        `low`, `high` (95 %) and `n`.

        Example:
            >>> values = cb.load_run("runs/demo").conditions.xs("value", axis=1, level="bound")
            >>> bool(values.loc["baseline", "perplexity"] > 0)
            True
        """
        return frames.conditions_frame(view_of(self.summary).conditions)

    @cached_property
    def matches(self) -> DataFrame:
        """Matched latents: one row per pair that passed every test, of every pair of layers.

        Columns: `layer` (target), `donor_layer`, `latent` (donor), `target_latent`, correlations
        `r_fit` and `r_heldout`, the 95 % quantile of the shift `null` of this donor latent, `p`.

        Example:
            >>> matches = cb.load_run("runs/demo").matches
            >>> bool((matches.r_heldout > 0).all())
            True
        """
        return frames.matches_frame(self.folder)

    @cached_property
    def layers(self) -> DataFrame:
        """One row per mapped target layer.

        Columns: `layer`, `donor_layer`, whether it is `edited`, SVCCA `score` of matched codes
        beside its `null`, `n_matches`, `eligible_mass` with `low` and `high`, `donor_cosine` of
        what the recipe writes, projection `agreement` of the rebuilt direction, `n_atoms`,
        `n_target_atoms`.

        Example:
            >>> layers = cb.load_run("runs/demo").layers
            >>> bool(layers.layer.is_unique)
            True
        """
        return frames.layers_frame(self.folder)

    @cached_property
    def directions(self) -> dict[int, Float[Tensor, " d_target"]]:
        """The unit direction that is edited at each target layer, by layer.

        Example:
            >>> directions = cb.load_run("runs/demo").directions
            >>> layer = min(directions)
            >>> round(float(directions[layer].norm()), 3)
            1.0
        """
        from conceptbasis.results.edit import Replayed
        from conceptbasis.runs.graph import load_result

        found = load_result(self.folder, "replay", Replayed)
        return dict(zip(found.plan.layers, found.directions, strict=True))

    def answers(self, *, show_text: bool = False) -> DataFrame:
        """First answers to held-out positive prompts: one row per condition and prompt.

        Columns: `condition`, `prompt` (always redacted), `kind` by the primary judge, `answer`.

        Args:
            show_text: Whether answers are shown in full, and not only their kind and length.

        Example:
            >>> answers = cb.load_run("runs/demo").answers()
            >>> list(answers.columns)
            ['condition', 'prompt', 'kind', 'answer']
        """
        return frames.answers_frame(self.folder, self.summary, show_text=show_text)

    def replay(
        self,
        model: Any,
        *,
        gamma: float | None = None,
        layers: Iterable[int] | None = None,
        check: bool = True,
    ) -> AbstractContextManager[EditReport]:
        """Applies the run's edit to its target for the duration of a `with` block.

        Args:
            model: The target, a transformers causal language model; also compiled, or wrapped by
                PEFT or for several devices.
            gamma: Strength in place of the run's: 1 removes, 2 reflects, below 0 strengthens. In
                mode `add`, a multiple of what the run adds.
            layers: Some of the edited layers; all by default.
            check: Whether the model's weights must be those of the target.

        Raises:
            InterventionError: if the model is another one, the edit does not act on it, or none of
                the layers is edited.

        Example:
            >>> run = cb.load_run("runs/demo")
            >>> with run.replay(model, gamma=0.5) as edited:
            ...     print(edited)
            3/3 stream, ...
        """
        from conceptbasis.edits.finished import replay_folder

        return replay_folder(model, self.folder, check=check, gamma=gamma, layers=layers)

    def evaluate(
        self,
        directions: Mapping[str, OwnDirections],
        *,
        n_prompts: int | None = None,
        quiet: bool = False,
    ) -> DataFrame:
        """Measures directions of your own as the run measured its conditions.

        The target is opened as the run opened it. Beside your conditions stand `baseline`, the
        untouched target, and `transfer`, the run's own edit, on the same prompts. Yours differ
        from `transfer` in their directions only: mode, strength and means are the run's.

        Args:
            directions: By name, a direction by edited layer, or one direction (shape: d_target)
                for all edited layers. Lengths do not matter.
            n_prompts: Prompts of each set; as many as the run used by default.
            quiet: Whether no progress is told.

        Returns:
            Figures in the form of `conditions`. Perplexity is that of benign texts of the suite.

        Raises:
            InterventionError: if a layer is not edited by the run, or a direction does not fit.
            ConfigError: if the model's weights are not those of the run.

        Example:
            >>> run = cb.load_run("runs/demo")
            >>> mine = {layer: -r for layer, r in run.directions.items()}  # the same line
            >>> found = run.evaluate({"mine": mine}, n_prompts=4, quiet=True)
            >>> list(found.index)
            ['baseline', 'transfer', 'mine']
        """
        from conceptbasis.api.own_directions import evaluate

        return evaluate(self.folder, directions, n_prompts=n_prompts, quiet=quiet)

    def intervene(
        self,
        layer: int,
        latent: int,
        *,
        side: SideName = "donor",
        times: float = 1.0,
        n_prompts: int = 100,
        n_controls: int = 1,
        quiet: bool = False,
    ) -> DataFrame:
        """Measures what one latent does by itself: taken out, put in, beside random controls.

        Args:
            layer: A layer of that side's model.
            latent: A number of `atoms` at that layer.
            side: Whose latent, and whose answers.
            times: What is put in, in multiples of its highest activation.
            n_prompts: Held-out prompts of each set.
            n_controls: Other latents of the same SAE, put in to the same length.
            quiet: Whether no progress is told.

        Returns:
            One row per set of `prompts`, `latent` (missing where nothing is done) and what is done:
            whether it is a `control`, the `rate` with `low`, `high`, `n`, and `first_words`.

        Raises:
            ConfigError: if the run holds no evidence of that latent, or a number is too small.

        Example:
            >>> run = cb.load_run("runs/demo")
            >>> first = run.recipe.iloc[0]
            >>> len(run.intervene(first.donor_layer, first.latent, n_prompts=2, quiet=True)) > 4
            True
        """
        from conceptbasis.api.single_latents import intervene

        return intervene(self.folder, (side, layer, latent, times), n_prompts, n_controls, quiet)

    def report(self) -> Path:
        """The path of the run's report, one HTML file; it is written where it is out of date.

        Example:
            >>> cb.load_run("runs/demo").report().name
            'report.html'
        """
        from conceptbasis.report.html import build_report

        return build_report(self.folder, reuse=True)

    def __repr__(self) -> str:
        names, word = (self.summary.donor.name, self.summary.target.name), self.summary.verdict.word
        return f"Run({str(self.folder)!r}: {names[0]} -> {names[1]}, {word})"

    def _repr_html_(self) -> str:
        return frames.summary_html(repr(self), self.summary)
