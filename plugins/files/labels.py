"""Labels: integers as they are, or texts that are ranked among all there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genpipe.errors import DataError

MAX_CLASSES = 100_000
"""A column with more different values than that is no label, and its values would not be held in memory."""


class TextLabels:
    """The different labels seen so far; DataError, which names where, once they are too many."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.texts: set[str] = set()

    def add(self, texts: Iterable[str]) -> None:
        self.texts.update(texts)
        if len(self.texts) > MAX_CLASSES:
            raise DataError(f"{self.where}: more than {MAX_CLASSES:,} different labels; is it a label?")


def names_of(surveys: Sequence[Mapping[str, Any]], where: str) -> tuple[str, ...]:
    """The names of the classes that parts' surveys list as "labels": sorted, and by value where all are whole numbers."""
    labels = TextLabels(where)
    for survey in surveys:
        labels.add(survey["labels"])
    names = sorted(labels.texts)
    if names and all(name.removeprefix("-").isdecimal() for name in names):
        names.sort(key=lambda name: (int(name), name))
    return tuple(names)


def num_classes_of(surveys: Sequence[Mapping[str, Any]], where: str) -> int | None:
    """One more than the largest of parts' "max_label"; None where there are no examples."""
    largest = max((survey["max_label"] for survey in surveys), default=-1)
    if largest >= MAX_CLASSES:
        raise DataError(f"{where}: the label {largest}, expected less than {MAX_CLASSES:,}; is it a label?")
    return largest + 1 if largest >= 0 else None


def check_labels(smallest: int, where: str) -> None:
    if smallest < 0:
        raise DataError(f"{where} has the label {smallest}, expected 0 or more")
