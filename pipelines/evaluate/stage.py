"""Writes an evaluation artifact: table.json, table.csv and nearest.npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genpipe.artifacts import read_manifest
from genpipe.data import Split, open_split, subset_by_hash
from genpipe.errors import UsageError
from genpipe.evaluation import Estimate, Reference
from genpipe.model import Model
from genpipe.neighbours import distance_ratios
from genpipe.parallel import Range
from genpipe.persistence import load_model
from genpipe.pipelines.evaluate.baselines import copy_row, floor_row, oracle_row
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.evaluate.score import HeldOut, NamedMetric, RowData, features_of, score_row
from genpipe.pipelines.sample.draw import Drawing, draw
from genpipe.registry import Registry
from genpipe.steps import StepContext
from genpipe.table import Row, Table
from genpipe.validation import restore_config


def run(context: StepContext) -> None:
    """Scores the rows oracle, model, copy and floor, all of the same size, against the training split."""
    config: EvaluateConfig = context.config
    train, test = (open_split(context.inputs["data"], name) for name in ("train", "test"))
    num = choose_num(config.num, train, test)
    model = load_model(context.inputs["model"], context.registry, context.device).eval()
    drawing = Drawing.read(context.inputs["samples"] / "drawing.json")
    chosen = subset_by_hash(len(test), num, context.seed)
    train_x, test_x = torch.from_numpy(np.array(train.x)), torch.from_numpy(np.array(test.x[chosen]))

    rows = [
        oracle_row(test_x, *true_density(context.inputs["data"], context.registry)),
        model_row(model, drawing, context.inputs["samples"], num, config.batch_size),
        copy_row(train_x, num, context.seed),
        floor_row(train.spec, num, context.seed),
    ]
    features_record = context.registry.get("feature_extractor", config.features.name)
    extractor = features_record.builder(config.features.config)
    extractor.prepare(train.spec, train_x)

    def features(x: Tensor) -> Tensor:
        return features_of(extractor, features_record.name, x, config.batch_size)

    reference = Reference(
        spec=train.spec,
        train=train_x,
        held_out=test_x,
        train_features=features(train_x),
        held_out_features=features(test_x),
        extractor=features_record.name,
    )
    metrics = [
        NamedMetric(record, record.builder(choice.config))
        for choice in config.metrics
        for record in [context.registry.get("metric", choice.name)]
    ]
    for named in metrics:
        named.metric.prepare(reference)

    labels = None
    if drawing.num_classes is not None and test.y is not None:
        labels = torch.from_numpy(np.array(test.y[chosen]))
    held_out = HeldOut(x=test_x, y=labels)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        context.progress(done, num * len(rows))

    scored, features_of_row = [], {}
    for row in rows:
        features_of_row[row.name] = features(row.x)
        cells, absent = score_row(
            row,
            metrics,
            features_of_row[row.name],
            held_out,
            batch_size=config.batch_size,
            seed=context.seed,
            progress=progress,
        )
        scored.append(Row(name=row.name, title=row.title, estimates=tuple(cells), absent=absent))

    table = Table(
        rows=tuple(scored),
        num=num,
        reference="train",
        num_reference=len(train),
        extractor=features_record.name,
        fingerprint=extractor.fingerprint,
        num_features=reference.train_features.shape[1],
        notes=tuple(_notes(train, metrics, labels is not None)),
    )
    table.write(context.out / "table.json")
    (context.out / "table.csv").write_text(table.csv())
    nearest = nearest_pairs(rows[1].x, features_of_row["model"], reference, config.num_nearest)
    np.savez_compressed(context.out / "nearest.npz", **nearest)
    context.summary.update(
        num=num,
        features=extractor.fingerprint,
        metrics={_metric_name(row.name, cell): cell.value for row in scored for cell in row.estimates},
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


def true_density(folder: Path, registry: Registry) -> tuple[str | None, Any]:
    """The data set's reference to its log-density, if it has one, and the config to call it with."""
    chosen = dict(read_manifest(folder).config["dataset"])
    record = registry.get("dataset", chosen.pop("name"))
    if record.log_density is None:
        return None, None
    return record.log_density, restore_config(record.config_class, chosen, registry)


def model_row(model: Model, drawing: Drawing, folder: Path, num: int, batch_size: int) -> RowData:
    """The samples of the artifact, and where they are too few the ones that follow in the same stream."""
    x = torch.from_numpy(np.load(folder / "samples.npy", allow_pickle=False))[:num]
    if len(x) < num:
        more = [torch.from_numpy(draw(model, drawing, at)) for at in Range(len(x), num).cut(batch_size)]
        x = torch.cat([x, *more])
    can = "log_prob" in model.family.capabilities
    return RowData(
        name="model",
        title=f"samples of {model.family.name}",
        x=x,
        log_prob=model.log_prob if can else None,
        no_likelihood=f"family '{model.family.name}' has no log_prob",
    )


def nearest_pairs(x: Tensor, features: Tensor, reference: Reference, num: int) -> dict[str, Any]:
    """Samples beside their nearest training example, smallest distance ratio first, and all ratios.

    Gives samples, neighbours (K, *event), index, neighbour_index, distance, ratio (K,), and model_ratios,
    held_out_ratios (N,).
    """
    found = distance_ratios(features, reference.train_features)
    held_out = distance_ratios(reference.held_out_features, reference.train_features)
    order = found.ratio.argsort(stable=True)[:num]
    return {
        "samples": x[order].numpy(),
        "neighbours": reference.train[found.index[order]].numpy(),
        "index": order.numpy(),
        "neighbour_index": found.index[order].numpy(),
        "distance": found.distance[order].numpy(),
        "ratio": found.ratio[order].numpy(),
        "model_ratios": found.ratio.numpy(),
        "held_out_ratios": held_out.ratio.numpy(),
    }


def _notes(train: Split, metrics: list[NamedMetric], is_conditional: bool) -> list[str]:
    notes = []
    if train.spec.mean is not None:
        notes.append(
            "The floor has the data's mean and deviations, so a distance that compares no more than these "
            "(a Fréchet distance of plain values) cannot tell it from data."
        )
    if not any(named.record.needs == "likelihood" for named in metrics):
        return notes
    notes += ["Likelihoods are of held-out data, mean over examples; an exact value ranks with exact values only."]
    if train.spec.levels is not None:
        notes.append(
            f"Values are whole numbers 0 … {train.spec.levels - 1}; densities see them with uniform noise in "
            "[0, 1) added, so a model's bits/dim are, in expectation, no better than its discrete likelihood; "
            "a family of discrete values gives that likelihood itself."
        )
    if is_conditional:
        notes.append("The model's likelihood is given each example's label.")
    return notes


def _metric_name(row: str, cell: Estimate) -> str:
    """The tracker's name: the model's cells plain, kinds of likelihood apart."""
    name = cell.name if cell.kind in (None, "exact") else f"{cell.name} {cell.kind}"
    return name if row == "model" else f"{row} {name}"
