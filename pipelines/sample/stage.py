"""Writes a samples artifact: samples.npy, labels.npy where asked for, drawing.json and grid.png."""

from __future__ import annotations

import time

import numpy as np

from genpipe.data import open_split
from genpipe.parallel import Range
from genpipe.parallel.array_file import ArrayFile
from genpipe.persistence import describe_model
from genpipe.pictures import LIGHT, MAX_REAL, examples_figure, save
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.sample.draw import DRAWER, Source, plan_drawing
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Draws `num` examples, batch by batch on any number of workers; gives seconds per sample in the summary.

    Batches are kept in scratch as they come, so a step that was killed draws those that it had not.
    """
    config: SampleConfig = context.config
    model = describe_model(context.inputs["model"], context.registry)
    drawing = plan_drawing(model, context.seed, config.sampler, config.labels)

    spec = model.spec
    samples = ArrayFile(context.scratch / "samples.npy", (config.num, *spec.shape), spec.dtype)
    todo = samples.missing(Range(0, config.num).cut(config.batch_size))
    num = sum(map(len, todo))
    start = time.perf_counter()
    source = Source(model=context.inputs["model"], device=context.device, drawing=drawing, site=context.site)
    done = config.num - num
    for position, x in context.fan_out.map(DRAWER, source, todo):
        samples.write(todo[position], x)
        done += len(x)
        context.progress(done, config.num)
    seconds = time.perf_counter() - start
    samples.move(context.out / "samples.npy")

    x = np.load(context.out / "samples.npy", mmap_mode="r", allow_pickle=False)
    labels = drawing.labels(0, config.num)
    if labels is not None:
        np.save(context.out / "labels.npy", labels.numpy(), allow_pickle=False)
    drawing.write(context.out / "drawing.json")
    real = open_split(context.inputs["data"], "test").x[:MAX_REAL] if "data" in context.inputs else None
    picture = examples_figure(x, spec, LIGHT, labels=None if labels is None else labels.numpy(), real=real)
    save(picture, context.out / "grid.png")
    context.summary.update(
        num_samples=config.num,
        sampler=drawing.sampler.name,
        sampler_options=dict(drawing.sampler.options),
        sampling_cost=model.family.sampling_cost,
        workers=context.fan_out.num_workers,
        show_in_run=True,
        metrics={"seconds_per_sample": seconds / num} if num else {},
    )
