"""Writes a data artifact: spec.json, <split>.x.npy, <split>.y.npy and preview.png."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from genpipe.data import Array, RawData, split_by_hash, subset_by_hash, write_split
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.pictures import LIGHT, examples_figure, save
from genpipe.pipelines.data.config import DataConfig
from genpipe.steps import StepContext
from genpipe.units import Units

SPLITS = ("train", "validation", "test")


def run(context: StepContext) -> None:
    """Loads, checks and splits; gives each split's size in the summary."""
    config: DataConfig = context.config
    record = context.registry.get("dataset", config.dataset.name)
    raw: RawData = record.builder(config.dataset.config, context.seed).checked()
    if config.limit is not None and config.limit < len(raw.x):
        raw = _limited(raw, config.limit, context.seed)
    fractions = {"test": config.test_fraction}
    if config.validation_fraction > 0:
        fractions["validation"] = config.validation_fraction
    splits = split_by_hash(len(raw.x), fractions, context.seed)
    for name, indices in splits.items():
        if len(indices) < 2:
            raise DataError(
                f"data set '{raw.spec.name}': the split '{name}' has {len(indices)} of {len(raw.x)} "
                "examples, expected at least 2"
            )
    x = raw.x.astype(raw.spec.dtype, copy=False)
    spec = with_statistics(raw.spec, x[splits["train"]])
    Units(spec)  # a spec without units is a mistake to hear of now, not when a model is built
    spec.write(context.out / "spec.json")
    for name, indices in splits.items():
        write_split(context.out, name, x[indices], None if raw.y is None else raw.y[indices])
    train = x[splits["train"]]
    labels = None if raw.y is None else raw.y[splits["train"]]
    save(examples_figure(train, spec, LIGHT, labels=labels), context.out / "preview.png")
    context.summary.update(
        dataset={
            "name": record.name,
            "digest": hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()[:16],
            "source": config.dataset.to_dict(),
        },
        num_examples={name: len(splits[name]) for name in SPLITS if name in splits},
        event=spec.event,
        shape=list(spec.shape),
        levels=spec.levels,
        num_classes=spec.num_classes,
        show_in_run=True,
    )


def _limited(raw: RawData, limit: int, seed: int) -> RawData:
    # By hash and not from the front: files are often sorted by class.
    kept = subset_by_hash(len(raw.x), limit, seed)
    return RawData(raw.spec, raw.x[kept], None if raw.y is None else raw.y[kept])


def with_statistics(spec: DataSpec, train: Array) -> DataSpec:
    """The spec with the training split's mean and deviation per dimension, where its units are those."""
    if spec.event == "image" or spec.levels is not None or (spec.low is not None and spec.high is not None):
        return spec
    flat = train.reshape(len(train), -1).astype(np.float64)
    constant = np.flatnonzero(flat.max(axis=0) == flat.min(axis=0))
    if len(constant):
        listed = ", ".join(str(i) for i in constant[:8]) + (" …" if len(constant) > 8 else "")
        raise DataError(
            f"data set '{spec.name}': {len(constant)} of {flat.shape[1]} columns are constant in the "
            f"training split ({listed}) and carry no information; leave them out"
        )
    return dataclasses.replace(spec, mean=tuple(flat.mean(axis=0)), std=tuple(flat.std(axis=0)))
