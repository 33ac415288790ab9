"""The flow beside zuko's neural spline flow: the same masked networks, splines, batch and data, and plain Adam.

zuko's is trained by the loop of its documentation, and dequantises whole numbers in every step as ours does. Both have
three autoregressive layers of three hidden layers, and as many parameters; zuko's splines lie in [−5, 5] before a normal
base everywhere, ours in the box before a uniform one where data has a range.
"""

from __future__ import annotations

from typing import Any

import torch
import zuko
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.case import Case, Work
from benchmarks.peers.data import load, num_parameters, trained
from genpipe.data import Split
from genpipe.model import Model
from genpipe.registry import registry
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model
from genpipe.units import Units

NUM_LAYERS, NUM_BINS, NUM_SAMPLES = 3, 8, 64
SIZES: dict[str, dict[str, int]] = {
    "moons": {"hidden": 64, "batch_size": 256, "steps": 300, "times": 20},
    "digits": {"hidden": 128, "batch_size": 64, "steps": 60, "times": 2},
}


def our_model(split: Split, size: dict[str, int]) -> Model:
    family = registry().get("family", "flow")
    options: dict[str, Any] = {"num_layers": NUM_LAYERS, "num_bins": NUM_BINS, "hidden": size["hidden"]}
    config = family.config_class(structure="autoregressive", num_blocks=1, **options)
    return build_model(family, config, split.spec, seed=0)


def their_model(split: Split, size: dict[str, int]) -> Any:
    torch.manual_seed(0)
    widths = (size["hidden"],) * 3
    return zuko.flows.NSF(split.spec.num_dimensions, bins=NUM_BINS, transforms=NUM_LAYERS, hidden_features=widths)


def training(split: Split, size: dict[str, int]) -> Case:
    steps, batch_size = size["steps"], size["batch_size"]

    def ours() -> Work:
        model = our_model(split, size)
        config = TrainConfig(
            steps=steps, batch_size=batch_size, learning_rate=1e-3, optimizer="adam", betas=(0.9, 0.999),
            warmup_steps=0, schedule="constant", clip_norm=None, ema_decay=0,
        )  # fmt: skip
        return lambda: trained(model, split, config)

    def theirs() -> Work:
        flow, units, levels = their_model(split, size), Units(split.spec), split.spec.levels
        data = torch.from_numpy(split.x)
        if levels is None:
            data = units.to_network(data, None)
        batches = DataLoader(TensorDataset(data), batch_size=batch_size, shuffle=True, drop_last=True)
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)

        def dequantised(x: Tensor) -> Tensor:
            return (
                x.flatten(1) if levels is None else 2 * (x.flatten(1) + torch.rand(len(x), x[0].numel())) / levels - 1
            )

        def work() -> dict[str, float]:
            losses: list[float] = []
            while len(losses) < steps:
                for (x,) in batches:
                    loss = -flow().log_prob(dequantised(x)).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item() / split.spec.num_dimensions)
                    if len(losses) == steps:
                        break
            last = losses[-(steps % 50 or 50) :]  # as many as our loop's last mean is over
            return {"parameters": num_parameters(flow), "loss": sum(last) / len(last)}

        return work

    return Case(
        name=f"flow: training, {NUM_LAYERS} spline layers, {split.spec.name}, batches of {batch_size}",
        peer="zuko", ours=ours, theirs=theirs, amount=steps, unit="steps", goal=1.2,
    )  # fmt: skip


def sampling(split: Split, size: dict[str, int]) -> Case:
    times = size["times"]

    def ours() -> Work:
        model = our_model(split, size).eval()

        def work() -> dict[str, float]:
            for seed in range(times):
                model.sample(NUM_SAMPLES, seed=seed)
            return {"parameters": num_parameters(model)}

        return work

    def theirs() -> Work:
        flow = their_model(split, size).eval()

        @torch.no_grad()
        def work() -> dict[str, float]:
            for _ in range(times):
                flow().sample((NUM_SAMPLES,))
            return {"parameters": num_parameters(flow)}

        return work

    return Case(
        name=f"flow: {NUM_SAMPLES} samples, {NUM_LAYERS} spline layers, {split.spec.name}",
        peer="zuko", ours=ours, theirs=theirs, amount=NUM_SAMPLES * times, unit="samples", goal=1.0,
    )  # fmt: skip


def cases() -> list[Case]:
    return [make(load(name), size) for name, size in SIZES.items() for make in (training, sampling)]
