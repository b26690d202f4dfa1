"""Errors that say what was wrong, what was expected, and what to do."""

from typing import Any


class ConceptBasisError(Exception):
    """Base of every error a user can cause; the command line turns it into exit status 2.

    Args:
        what: What was wrong, with the offending value.
        expected: What would have been right.
        fix: What the user can do now.
    """

    def __init__(self, what: str, *, expected: str, fix: str) -> None:
        self.what = what
        self.expected = expected
        self.fix = fix
        super().__init__(f"{what}\n  expected: {expected}\n  to fix:   {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets an error cross from a worker process; a pool waits for ever for one that cannot."""
        return _rebuild, (type(self), self.what, self.expected, self.fix)


def _rebuild(
    kind: type[ConceptBasisError], what: str, expected: str, fix: str
) -> ConceptBasisError:
    return kind(what, expected=expected, fix=fix)


def reason(error: Exception, length: int = 300) -> str:
    """What another library said, on one line; its type too where the words alone say little."""
    text = " ".join(str(error).split())[:length]
    return text if " " in text else f"{type(error).__name__} {text}".rstrip()


class ConfigError(ConceptBasisError):
    """A configuration file, a key or a value cannot be used."""


class ModelError(ConceptBasisError):
    """A model, tokenizer or architecture cannot be used."""


class SaeError(ConceptBasisError):
    """A sparse autoencoder does not fit its model or its purpose."""


class PromptError(ConceptBasisError):
    """A prompt or text set is empty, overlaps another, or does not fit the model."""


class ArtifactError(ConceptBasisError):
    """A file of a run is missing, corrupt, or cannot be written."""


class NumericsError(ConceptBasisError):
    """A number that must be finite or well defined is not."""


class InterventionError(ConceptBasisError):
    """An intervention edits nothing or is not allowed on this architecture."""


class CoverageError(ConceptBasisError):
    """The forecast says that the transfer text does not cover the recipe."""


class OrganismError(ConceptBasisError):
    """A model organism was built but is not valid."""
