"""Writes a data artifact: spec.json, splits.json, <split>/00000.parquet … and preview.png."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genpipe.data import InMemory, RawData, Source, cut, open_split, split_sizes, subset_by_hash, write_index
from genpipe.data.raw import check_num
from genpipe.data.shard import Shard
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, PluginError
from genpipe.parallel import FanOut, InThisProcess
from genpipe.pictures import LIGHT, MAX_IMAGES, examples_figure, save
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.data.convert import Conversion
from genpipe.pipelines.data.pieces import pieces
from genpipe.pipelines.data.statistics import Statistics, doubts, merged, with_statistics
from genpipe.steps import StepContext
from genpipe.units import Units

log = logging.getLogger("genpipe.data")

SPLITS = ("train", "validation", "test", "features")
PREVIEW_EXAMPLES = 2000
CONVERT = "genpipe.pipelines.data.convert"


def run(context: StepContext) -> None:
    """Surveys, checks, splits and converts; gives each split's size in the summary."""
    config: DataConfig = context.config
    record = context.registry.get("dataset", config.dataset.name)
    source = as_source(record.builder(config.dataset.config, context.seed), record.name)
    workers = _workers(context, source)
    parts = source.parts
    surveys = _in_order(workers.map(f"{CONVERT}:surveyor", source, parts), len(parts))
    spec, nums = source.spec(surveys), [survey["num"] for survey in surveys]
    check_num(spec, sum(nums))
    cuts = cut(sum(nums), chosen_sizes(spec, config, sum(nums)), context.seed)
    width = spec.num_dimensions * np.dtype(spec.dtype).itemsize
    todo = list(pieces(parts, nums, width))
    folder = context.scratch / "pieces"
    folder.mkdir(parents=True, exist_ok=True)
    facts: list[dict[str, Any]] = [{}] * len(todo)
    done = 0
    for number, result in workers.map(f"{CONVERT}:converter", Conversion(source, spec, cuts, folder), todo):
        facts[number] = result
        done += result["num"]
        context.progress(done, sum(nums))
    if len({piece["labelled"] for piece in facts if piece["num"]}) > 1:
        raise DataError(f"data set '{spec.name}': some of its parts have labels, others have none")
    _write(context, spec, facts, folder)
    context.summary.update(
        dataset={"name": record.name, "digest": _digest(facts), "source": config.dataset.to_dict()},
        num_examples={name: cuts.sizes[name] for name in SPLITS if name in cuts.sizes},
        event=spec.event,
        shape=list(spec.shape),
        levels=spec.levels,
        num_classes=spec.num_classes,
        show_in_run=True,
    )


def as_source(built: Any, name: str) -> Source:
    """What a data set's builder gave, as a source."""
    if isinstance(built, Source):
        return built
    if isinstance(built, RawData):
        return InMemory(built)
    raise PluginError(f"data set '{name}' built a {type(built).__name__}, expected a genpipe.data RawData or Source")


def chosen_sizes(spec: DataSpec, config: DataConfig, num: int) -> dict[str, int]:
    """Examples of each split; DataError where one is too small to be of use."""
    num = min(num, config.limit or num)
    fractions = {"test": config.test_fraction}
    if config.validation_fraction > 0:
        fractions["validation"] = config.validation_fraction
    if config.features_fraction > 0:
        fractions["features"] = config.features_fraction  # after the others, which it so leaves as they are
    sizes = split_sizes(num, fractions)
    for name, size in sizes.items():
        if size < 2:
            others = " and ".join(f"data.{other}_fraction" for other in fractions)
            remedy = f"lower {others}" if name == "train" else f"raise data.{name}_fraction (now {fractions[name]:g})"
            raise DataError(
                f"data set '{spec.name}': the split '{name}' has {size} of {num} examples, expected at least 2: give more "
                + (f"data, or {remedy}" if num >= 2 * len(sizes) else "data")
            )
    return sizes


def _workers(context: StepContext, source: Source) -> FanOut:
    """A Ray Data job where the step has workers to share it with."""
    if context.fan_out.num_workers == 1 or isinstance(source, InMemory):
        return InThisProcess()  # what is in memory already costs more to send than to write
    from genpipe.parallel.ray_data import OnRayData

    workers, alive = context.fan_out.num_workers, context.progress.again
    may_be_apart = context.site is not None and context.site.store is not None
    return OnRayData(workers, context.resources, context.scratch, alive=alive, on_this_node=may_be_apart)


def _in_order(results: Any, num: int) -> list[Any]:
    found = dict(results)
    return [found[position] for position in range(num)]


def _write(context: StepContext, spec: DataSpec, facts: Sequence[Mapping[str, Any]], pieces_folder: Path) -> None:
    splits: dict[str, list[Shard]] = {name: [] for name in SPLITS}
    statistics: dict[str, list[Statistics]] = {name: [] for name in SPLITS}
    for number, piece in enumerate(facts):
        for name, split in piece["splits"].items():
            statistics[name] += [Statistics.from_json(fields) for fields in split["statistics"]]
            for fields in split["shards"]:
                shard = Shard(**fields)
                file = f"{name}/{len(splits[name]):05d}.parquet"
                (context.out / name).mkdir(exist_ok=True)
                _link(pieces_folder / f"{number:06d}" / shard.file, context.out / file)
                splits[name].append(replace(shard, file=file))
    totals = {name: merged(parts) for name, parts in statistics.items() if parts}
    spec = with_statistics(spec, totals["train"])
    for doubt in doubts(spec, totals["train"]):
        log.warning(doubt)
    Units(spec)  # a spec without units is a mistake to hear of now, not when a model is built
    write_index(context.out, spec, {name: shards for name, shards in splits.items() if shards})
    _preview(context, spec)
    context.summary["label_counts"] = {
        name: total.label_counts.tolist() for name, total in totals.items() if total.label_counts is not None
    }


def _link(source: Path, target: Path) -> None:
    """Not moved, so that a step that is killed here finds its pieces again."""
    try:
        os.link(source, target)
    except OSError:  # the scratch folder may be on another file system, or on one without links
        shutil.copyfile(source, target)


def _preview(context: StepContext, spec: DataSpec) -> None:
    train = open_split(context.out, "train")
    # Of no more images than are drawn: they come in the order of the files, and that is often by class.
    num = MAX_IMAGES if spec.event == "image" else PREVIEW_EXAMPLES
    chosen = subset_by_hash(len(train), num, context.seed)
    labels = None if train.y is None else train.y[chosen]
    save(examples_figure(train.x[chosen], spec, LIGHT, labels=labels), context.out / "preview.png")


def _digest(facts: Sequence[Mapping[str, Any]]) -> str:
    """Of all examples' bytes, in their order, whatever the splits."""
    digests = [piece["digest"] for piece in facts]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return str(whole[:16])
