"""Who is told what happens in a run while it happens; stages know nothing of it."""

from __future__ import annotations

from pathlib import Path

from conceptbasis.config.run import RunConfig


class Listener:
    """Is told what happens in a run; this one does nothing with it."""

    def on_settings(self, config: RunConfig) -> None:
        """The settings of the run, with what its prompts decide; said before anything else."""

    def on_begin(self, folder: Path) -> None:
        """There is work to do in a run folder, and it begins now."""

    def on_stage(self, name: str, *, reused: bool) -> None:
        """A stage begins, or is read because nothing it depends on has changed."""

    def on_done(self, name: str, seconds: float) -> None:
        """A stage is finished; its files are written. `seconds` is what it took to compute it."""

    def on_progress(self, label: str, done: int, of: int) -> None:
        """A long piece of work under some label has come so far."""
