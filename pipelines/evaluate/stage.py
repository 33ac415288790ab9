"""Writes an evaluation artifact: table.json, table.csv, nearest.npz, and likelihoods.npz where there is a density."""

from __future__ import annotations

import numpy as np

from genpipe.data import open_split, subset_by_hash
from genpipe.errors import DataError
from genpipe.evaluation import Estimate
from genpipe.pipelines.evaluate.checks import are_all_equal, check_samples, choose_num
from genpipe.pipelines.evaluate.chosen import choose_metrics
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.evaluate.nearest import nearest_pairs
from genpipe.pipelines.evaluate.notes import data_in_words, notes
from genpipe.pipelines.evaluate.opened import Sources
from genpipe.pipelines.evaluate.score import score
from genpipe.pipelines.evaluate.truth import known_truth
from genpipe.pipelines.features.kept import KeptFeatures
from genpipe.steps import StepContext
from genpipe.table import SUBJECTS, Table


def run(context: StepContext) -> None:
    """Scores the rows oracle, model (or samples), copy and floor, all of the same size, against the training split."""
    config: EvaluateConfig = context.config
    model, samples = context.inputs.get("model"), context.inputs["samples"]
    train, test = (open_split(context.inputs["data"], name) for name in ("train", "test"))
    drawn = np.load(samples / "samples.npy", mmap_mode="r", allow_pickle=False)
    check_samples(drawn, train.spec)
    if model is None and are_all_equal(drawn):
        raise DataError(f"samples: all {len(drawn)} are one and the same example, of which there is nothing to measure")
    can_go_on = model is not None and (samples / "drawing.json").exists()
    num = choose_num(config.num, train, test, None if can_go_on else len(drawn))
    kept = KeptFeatures(context.inputs["features"], context.registry)
    truth = known_truth(context.inputs["data"], context.registry)
    metrics = choose_metrics(
        config, train.spec, kept, context.registry, has_model=model is not None, has_density=truth is not None
    )
    sources = Sources(
        data=context.inputs["data"],
        features=context.inputs["features"],
        model=model,
        samples=samples,
        site=context.site,
        device=context.device,
        num=num,
        batch_size=config.batch_size,
        seed=context.seed,
        held_out=subset_by_hash(len(test), num, context.seed),
        copies=subset_by_hash(len(train), num, context.seed),
        metrics=metrics,
        extractor=kept.id_of(config.features),
    )
    scores = score(sources, config.num_likelihoods, context.scratch, context.fan_out, context.progress)

    default = kept[sources.extractor]
    table = Table(
        rows=scores.rows,
        num=num,
        reference="train",
        num_reference=len(train),
        num_held_out=len(test),
        extractor=default.name,
        fingerprint=default.fingerprint,
        num_features=default.num_features,
        seed=context.seed,
        data=data_in_words(train.spec),
        notes=tuple(notes(scores.opened)),
    )
    table.write(context.out / "table.json")
    (context.out / "table.csv").write_text(table.csv())
    nearest = nearest_pairs(scores.opened, scores.of_subject, scores.of_held_out, config.num_nearest)
    np.savez_compressed(context.out / "nearest.npz", **nearest)
    if scores.likelihoods is not None:
        scores.likelihoods.write(context.out / "likelihoods.npz")
    context.summary.update(
        num=num,
        features=default.fingerprint,
        workers=context.fan_out.num_workers,
        metrics={_metric_name(row.name, cell): cell.value for row in scores.rows for cell in row.estimates},
    )


def _metric_name(row: str, cell: Estimate) -> str:
    """The tracker's name: the subject's cells plain, kinds of likelihood apart."""
    name = cell.name if cell.kind in (None, "exact") else f"{cell.name} {cell.kind}"
    return name if row in SUBJECTS else f"{row} {name}"
