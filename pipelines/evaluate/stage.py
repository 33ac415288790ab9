"""Writes an evaluation artifact: table.json, table.csv and nearest.npz."""

from __future__ import annotations

import numpy as np

from genpipe.data import Split, open_split, subset_by_hash
from genpipe.errors import UsageError
from genpipe.evaluation import Estimate, FeatureExtractor
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.evaluate.nearest import nearest_pairs
from genpipe.pipelines.evaluate.opened import MODEL, Opened, Sources
from genpipe.pipelines.evaluate.score import score
from genpipe.steps import StepContext
from genpipe.table import Table


def run(context: StepContext) -> None:
    """Scores the rows oracle, model, copy and floor, all of the same size, against the training split."""
    config: EvaluateConfig = context.config
    train, test = (open_split(context.inputs["data"], name) for name in ("train", "test"))
    num = choose_num(config.num, train, test)
    record = context.registry.get("feature_extractor", config.features.name)
    extractor: FeatureExtractor = record.builder(config.features.config)
    split = open_split(context.inputs["data"], "features") if record.trains else None
    extractor.prepare(train.spec, split, train.x)
    sources = Sources(
        data=context.inputs["data"],
        model=context.inputs["model"],
        samples=context.inputs["samples"],
        site=context.site,
        device=context.device,
        num=num,
        batch_size=config.batch_size,
        seed=context.seed,
        held_out=subset_by_hash(len(test), num, context.seed),
        copies=subset_by_hash(len(train), num, context.seed),
        metrics=config.metrics,
        extractor_name=record.name,
        extractor=extractor,
    )
    scores = score(sources, context.scratch, context.fan_out, context.progress)

    opened = scores.opened
    table = Table(
        rows=scores.rows,
        num=num,
        reference="train",
        num_reference=len(train),
        extractor=record.name,
        fingerprint=extractor.fingerprint,
        num_features=opened.reference.train_features.shape[1],
        notes=tuple(_notes(opened)),
    )
    table.write(context.out / "table.json")
    (context.out / "table.csv").write_text(table.csv())
    nearest = nearest_pairs(opened, scores.of_model, scores.of_held_out, config.num_nearest)
    np.savez_compressed(context.out / "nearest.npz", **nearest)
    context.summary.update(
        num=num,
        features=extractor.fingerprint,
        workers=context.fan_out.num_workers,
        metrics={_metric_name(row.name, cell): cell.value for row in scores.rows for cell in row.estimates},
    )


def choose_num(asked: int | None, train: Split, test: Split) -> int:
    """The size of every row: the oracle's examples are held out, the copies' are training examples."""
    most = min(len(train), len(test))
    if asked is not None and asked > most:
        raise UsageError(
            f"evaluate.num is {asked}, but {len(test)} examples are held out and {len(train)} were trained "
            f"on; every row has the same size, so at most {most}"
        )
    return asked or most


def _notes(opened: Opened) -> list[str]:
    notes, spec = [], opened.train.spec
    if spec.mean is not None:
        notes.append(
            "The floor has the data's mean and deviations, so a distance that compares no more than these "
            "(a Fréchet distance of plain values) cannot tell it from data."
        )
    if not any(named.record.needs == "likelihood" for named in opened.metrics.values()):
        return notes
    notes += ["Likelihoods are of held-out data, mean over examples; an exact value ranks with exact values only."]
    if spec.levels is not None:
        notes.append(
            f"Values are whole numbers 0 … {spec.levels - 1}; densities see them with uniform noise in "
            "[0, 1) added, so a model's bits/dim are, in expectation, no better than its discrete likelihood; "
            "a family of discrete values gives that likelihood itself."
        )
    if opened.is_labelled:
        notes.append("The model's likelihood is given each example's label.")
    return notes


def _metric_name(row: str, cell: Estimate) -> str:
    """The tracker's name: the model's cells plain, kinds of likelihood apart."""
    name = cell.name if cell.kind in (None, "exact") else f"{cell.name} {cell.kind}"
    return name if row == MODEL else f"{row} {name}"
