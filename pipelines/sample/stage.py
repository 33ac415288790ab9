"""Writes a samples artifact: samples.npy, labels.npy where asked for, drawing.json and grid.png."""

from __future__ import annotations

import time

import numpy as np
import torch

from genpipe.data import open_split
from genpipe.errors import GenpipeError
from genpipe.model import Sampler
from genpipe.persistence import load_model
from genpipe.pictures import LIGHT, examples_figure, save
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.sample.draw import draw, plan_drawing
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Draws `num` examples; gives seconds per sample in the summary."""
    config: SampleConfig = context.config
    model = load_model(context.inputs["model"], context.registry, context.device).eval()
    asked = Sampler(name=config.sampler, num_steps=config.num_steps, eta=config.eta)
    drawing = plan_drawing(model, context.seed, asked, config.labels)
    batches = []
    start = time.perf_counter()
    for batch in draw(model, drawing, 0, config.num, config.batch_size):
        batches.append(batch)
        context.progress(sum(map(len, batches)), config.num)
    seconds = time.perf_counter() - start
    x = torch.cat(batches).numpy()
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        raise GenpipeError(
            f"{bad.sum()} of {len(x)} samples of family '{model.family.name}' have NaN or infinity, "
            f"first at {bad.argmax()}"
        )
    np.save(context.out / "samples.npy", x.astype(model.spec.dtype, copy=False), allow_pickle=False)
    labels = drawing.labels(0, config.num)
    if labels is not None:
        np.save(context.out / "labels.npy", labels.numpy(), allow_pickle=False)
    drawing.write(context.out / "drawing.json")
    real = open_split(context.inputs["data"], "test").x if "data" in context.inputs else None
    picture = examples_figure(x, model.spec, LIGHT, labels=None if labels is None else labels.numpy(), real=real)
    save(picture, context.out / "grid.png")
    context.summary.update(
        num_samples=config.num,
        sampler=drawing.sampler.name,
        num_steps=drawing.sampler.num_steps,
        sampling_cost=model.family.sampling_cost,
        show_in_run=True,
        metrics={"seconds_per_sample": seconds / config.num},
    )
