"""Errors for people: each says where, what was given, what was expected and the nearest match."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class GenpipeError(Exception):
    """A mistake or a failure that a user can act on; the command line prints its text and no traceback."""

    exit_code = 1


class UsageError(GenpipeError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class PluginError(GenpipeError):
    """A plugin that could not be imported or registered; names the plugin and its distribution."""

    exit_code = 2


class DataError(GenpipeError):
    """A data file or array is missing, damaged or not what its description says."""

    exit_code = 2


class ArtifactError(GenpipeError):
    """An artifact is missing, incomplete or does not match its checksums."""


class StoreError(GenpipeError):
    """A store did not do what was asked of it; names its address and the operation."""


class CapabilityError(UsageError):
    """A model was asked for something that its family cannot answer."""


class StepFailed(GenpipeError):
    """A step of a run ended with an error; carries the step's id, the last lines of its log, and the run.

    run: a genpipe.runs.Run, with what the other steps made; None where the error did not come from one.
    """

    run: Any = None

    def __init__(self, step: str, message: str, *, log: str | None = None, tail: Sequence[str] = ()) -> None:
        self.step, self.message, self.log, self.tail = step, message, log, tuple(tail)
        super().__init__(f"step '{step}' failed: {message}")


class DivergedError(GenpipeError):
    """Training produced a loss that is not finite."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by a signal. No Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
        super().__init__("interrupted" if signal_number == signal.SIGINT else "terminated")


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe: `where` is a file with its line, or the override that was typed."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.message}" if self.key else f"{self.where}: {self.message}"


class RecipeError(UsageError):
    """All the mistakes of one recipe, together."""

    def __init__(self, recipe: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"recipe '{recipe}' has {count}:", *(f"  {p}" for p in problems)]))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its kind where it says nothing. Others' errors go on for pages."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """The last line of what an error says, where those before are a traceback; its kind where it says nothing."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]


def nearest(given: str, known: Iterable[str]) -> str:
    """A hint such as "; did you mean 'vae'?", or the list of what there is, or nothing."""
    names = sorted(known)
    match = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if match:
        return f"; did you mean '{match[0]}'?"
    if 0 < len(names) <= 12:
        return f"; there is {', '.join(names)}"
    return ""
