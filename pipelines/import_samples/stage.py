"""Writes a samples artifact of what another program made: samples.npy, order.npy and grid.png."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from genpipe.config import Component
from genpipe.data import Array, Source, open_split
from genpipe.data.splits import hashes
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.pictures import LIGHT, MAX_REAL, examples_figure, save
from genpipe.pipelines.data.stage import as_source
from genpipe.pipelines.import_samples.config import ImportConfig
from genpipe.pipelines.import_samples.findings import Findings
from genpipe.pipelines.import_samples.layout import listed
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Reads, checks and converts samples to the units of the data; DataError tells all that is wrong with them.

    They are written in the order of a keyed hash, so that the first of them are a fair part, however the files were
    sorted; order.npy (N,) has the place of each among those that were read.
    """
    config: ImportConfig = context.config
    test = open_split(context.inputs["data"], "test")
    spec = test.spec
    record = context.registry.get("dataset", config.source.name)
    source = as_source(record.builder(told_of(config.source, spec), context.seed), record.name)
    surveys = [source.survey(part) for part in source.parts]
    own, num = source.spec(surveys), sum(survey["num"] for survey in surveys)

    order = np.argsort(hashes(context.seed, 0, num), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(num)
    samples = open_memmap(context.out / "samples.npy", "w+", spec.dtype, (num, *spec.shape)) if num else None
    findings = Findings(spec, config)
    for x in _blocks(source, own):
        start = findings.num
        fitting = findings.take(x)
        if fitting is not None and samples is not None:
            # What is out of bounds is told below: the cast may not warn of it first.
            with np.errstate(invalid="ignore", over="ignore"):
                samples[place[start : findings.num]] = fitting.astype(spec.dtype)
        context.progress(findings.num, num)
    problems = findings.problems()
    if problems or samples is None:
        raise DataError("\n  ".join([f"samples '{own.name}' are not of the kind of {_described(spec)}:", *problems]))
    samples.flush()
    np.save(context.out / "order.npy", order, allow_pickle=False)
    save(examples_figure(samples, spec, LIGHT, real=test.x[:MAX_REAL]), context.out / "grid.png")
    context.summary.update(
        num_samples=num,
        title=config.title or f"samples '{own.name}'",
        notes=findings.notes(),
        show_in_run=True,
    )


def told_of(source: Component, spec: DataSpec) -> Any:
    """The source's options; where it must be told what values may be, and was not, those of the data."""
    config: Any = source.config
    fields = type(config).model_fields
    if not {"levels", "low", "high"} <= set(fields) or any(getattr(config, n) is not None for n in ("levels", "low")):
        return config
    if spec.levels is not None:
        return config.model_copy(update={"levels": spec.levels})
    return config.model_copy(update={"low": spec.low, "high": spec.high})


def _blocks(source: Source, spec: DataSpec) -> Iterator[Array]:
    for part in source.parts:
        for x, _ in source.read(part, spec):
            if x.dtype.kind not in "uif":
                raise DataError(f"{part.address}: values have type {x.dtype}, expected numbers")
            yield x


def _described(spec: DataSpec) -> str:
    shape = listed(spec.shape)
    return f"'{spec.name}', {spec.event}s of shape {shape}"
