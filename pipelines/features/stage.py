"""Writes a features artifact; genpipe.pipelines.features.kept says what is in it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genpipe import components
from genpipe.config import Component
from genpipe.data import Split, open_split
from genpipe.errors import UsageError
from genpipe.evaluation import FeatureExtractor
from genpipe.parallel import Range
from genpipe.parallel.array_file import ArrayFile
from genpipe.pipelines.features.compute import OF, What
from genpipe.pipelines.features.config import FeaturesConfig
from genpipe.pipelines.features.default import default_extractor
from genpipe.pipelines.features.items import COMPUTER, Item, Prepared
from genpipe.pipelines.features.kept import (
    HISTORY,
    SPLITS,
    STATE,
    Index,
    KeptExtractor,
    extractor_id,
    restored,
)
from genpipe.pipelines.features.same import example_hashes, num_found
from genpipe.steps import StepContext

BATCHES_PER_ITEM = 16


def run(context: StepContext) -> None:
    """Prepares each extractor, then computes what it gives of the training split and of held-out data."""
    config: FeaturesConfig = context.config
    data = context.inputs["data"]
    splits = {name: open_split(data, name) for name in SPLITS}
    default = config.default or default_extractor(splits["train"].spec, context.registry)
    chosen = {extractor_id(component): component for component in (default, *config.others)}
    done = {name: _prepared(component, context.scratch / name, data, context) for name, component in chosen.items()}
    kept = _compute(context, config, splits, chosen, done)
    for name, each in done.items():
        save_file(each.extractor.state(), context.out / name / STATE)
        if each.history:
            lines = [json.dumps(dict(step)) + "\n" for step in each.history]
            (context.out / name / HISTORY).write_text("".join(lines))
    used = dict(splits)
    if any(each.record.trains for each in done.values()):
        used["features"] = open_split(data, "features")
    num = {name: len(split) for name, split in used.items()}
    Index(default=extractor_id(default), extractors=kept, num=num, num_same=_same(context.out, used)).write(context.out)
    context.summary.update(
        features={each.name: each.fingerprint for each in kept.values()},
        seconds_to_prepare={kept[name].name: each.seconds for name, each in done.items()},
        workers=context.fan_out.num_workers,
        metrics={
            f"{kept[name].name} {term}": value
            for name, each in done.items()
            for term, value in (each.history[-1] if each.history else {}).items()
            if term != "step"
        },
    )


@dataclass(frozen=True)
class _Prepared:
    record: components.FeatureExtractor
    extractor: FeatureExtractor
    history: list[dict[str, float]]
    seconds: float


def _prepared(component: Component, scratch: Path, data: Path, context: StepContext) -> _Prepared:
    """Ready to compute. What took long is kept, for an attempt that follows one that was killed."""
    record: components.FeatureExtractor = context.registry.get("feature_extractor", component.name)
    train = open_split(data, "train")
    if train.spec.event not in record.events:
        raise UsageError(
            f"features '{record.name}' take {' and '.join(record.events)} data, and '{train.spec.name}' is of kind "
            f"{train.spec.event}"
        )
    about, state = scratch / "about.json", scratch / STATE
    with contextlib.suppress(OSError, ValueError, SafetensorError):
        facts = json.loads(about.read_text())
        extractor = restored(component, load_file(state), train.spec, context.registry, context.device)
        return _Prepared(record, extractor, facts["history"], facts["seconds"])
    extractor = record.builder(component.config)
    extractor.device = context.device
    started = time.perf_counter()
    extractor.prepare(train.spec, _third_split(record, data), train.x)
    seconds = time.perf_counter() - started
    history = [dict(step) for step in extractor.history]
    scratch.mkdir(parents=True, exist_ok=True)
    save_file(extractor.state(), state)
    aside = about.with_suffix(".aside")  # it comes last, so that the state is whole where it is there
    aside.write_text(json.dumps({"history": history, "seconds": seconds}))
    os.replace(aside, about)
    return _Prepared(record, extractor, history, seconds)


def _third_split(record: components.FeatureExtractor, data: Path) -> Split | None:
    if not record.trains:
        return None
    listed = json.loads((data / "splits.json").read_text())["splits"]
    if "features" not in listed:
        raise UsageError(
            f"features '{record.name}' are trained on a split of their own, and there is none: set "
            "data.features_fraction, the share of the examples for it (0.2, say)"
        )
    return open_split(data, "features")


def _compute(
    context: StepContext,
    config: FeaturesConfig,
    splits: dict[str, Split],
    chosen: dict[str, Component],
    done: dict[str, _Prepared],
) -> dict[str, KeptExtractor]:
    kept, files, items = {}, {}, list[Item]()
    first = splits["train"].x[0:1]
    for name, each in done.items():
        widths: dict[What, int] = {}
        whats: tuple[What, ...] = ("features", "logits") if each.record.has_logits else ("features",)
        for what in whats:
            given = OF[what](each.extractor, each.record.name, _tensor(first))
            widths[what] = given.shape[1]
            for split, examples in splits.items():
                path = context.scratch / name / f"{split}-{what}.npy"
                file = files[name, what, split] = ArrayFile(path, (len(examples), given.shape[1]), "float64")
                ranges = Range(0, len(examples)).cut(config.batch_size * BATCHES_PER_ITEM)
                items += [Item(name, what, split, at) for at in file.missing(ranges)]
        kept[name] = KeptExtractor(
            name=each.record.name,
            config=chosen[name].config.model_dump(mode="json"),
            fingerprint=each.extractor.fingerprint,
            num_features=widths["features"],
            num_logits=widths.get("logits"),
        )
    prepared = Prepared(
        data=context.inputs["data"],
        site=context.site,
        device=context.device,
        batch_size=config.batch_size,
        chosen=chosen,
        states={name: each.extractor.state() for name, each in done.items()},
    )
    for count, (position, values) in enumerate(context.fan_out.map(COMPUTER, prepared, items), start=1):
        item = items[position]
        file = files[item.extractor, item.what, item.split]
        file.write(item.at, values)
        context.progress(count, len(items))
    for (name, what, split), file in files.items():
        (context.out / name).mkdir(exist_ok=True)
        file.move(context.out / name / f"{split}-{what}.npy")
    return kept


def _same(out: Path, splits: dict[str, Split]) -> dict[str, int]:
    """How many held-out examples are in each other split too. Writes the hashes that samples are looked up in."""
    hashes = {name: example_hashes(split.x, split.spec.dtype) for name, split in splits.items()}
    for name in SPLITS:
        np.save(out / f"hashes-{name}.npy", hashes[name], allow_pickle=False)
    return {name: num_found(hashes["test"], found) for name, found in hashes.items() if name != "test"}


def _tensor(x: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(x))
