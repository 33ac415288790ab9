"""CSV tables: a header, then a row of numbers per example; labels are any text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genpipe.data import Array, Part, RawData, Source
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.files.blocks import first
from genpipe.plugins.files.config import CsvConfig
from genpipe.plugins.files.csv_rows import layout, rows
from genpipe.plugins.files.labels import TextLabels, names_of
from genpipe.plugins.files.paths import digest, find, stem
from genpipe.plugins.files.source import FileSource
from genpipe.plugins.files.suffixes import TABLES


@dataclass(frozen=True)
class Tables(FileSource):
    """One part per file. x: (N, D) float32; y: (N,), the rank of the label among the sorted labels of all files."""

    config: CsvConfig

    def list_parts(self) -> Iterable[Part]:
        return (Part(file.address) for file in find(self.config.path, TABLES))

    def survey(self, part: Part) -> dict[str, Any]:
        table = layout(part.address, self.config)
        labels, num = TextLabels(f"{part.address}, column '{self.config.label}'"), 0
        for block in rows(table, numbers=False):
            num += block.num
            if block.labels is not None:
                labels.add(block.labels)
        return {"num": num, "columns": list(table.columns), "labels": sorted(labels.texts), "where": part.address}

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        columns = surveys[0]["columns"]
        for survey in surveys:
            if survey["columns"] != columns:
                raise DataError(
                    f"{survey['where']} has the columns {_listed(survey['columns'])}, expected {_listed(columns)} as in "
                    f"{surveys[0]['where']}; say which are to be read (columns)"
                )
        names = names_of(surveys, f"{self.config.path}, column '{self.config.label}'")
        return DataSpec(
            name=stem(self.config.path),
            event="vector",
            shape=(len(columns),),
            num_classes=len(names) or None,
            class_names=names,
        )

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        ranks = {name: rank for rank, name in enumerate(spec.class_names)}
        for block in rows(layout(part.address, self.config), numbers=True):
            y = None
            if block.labels is not None:
                y = np.array([ranks.get(text, -1) for text in block.labels], dtype=np.int64)
                if (y < 0).any():
                    new = block.labels[int((y < 0).argmax())]
                    raise DataError(f"{part.address} has the label '{new}', which was not there before: it has changed")
            yield block.x, y


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:8]) + (f" … ({len(columns)})" if len(columns) > 8 else "")


def build(config: CsvConfig, seed: int) -> Source | RawData:
    """Tables, or their first rows where there is a limit. The seed has no part."""
    return first(Tables(config), config.limit)


def fingerprint(config: CsvConfig) -> str:
    return digest(stem(config.path), find(config.path, TABLES))
