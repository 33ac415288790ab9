"""Writes a data artifact of codes: spec.json, splits.json, <split>/…, and reconstructions.png."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from genpipe.capabilities import need
from genpipe.codes import code_spec, draw_codes
from genpipe.data import Array, Split, in_order, open_split, split_names, write_index
from genpipe.data.shard import Shard
from genpipe.data.shard_writer import ShardWriter
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.noise import Noise
from genpipe.persistence import load_model
from genpipe.pictures import LIGHT, MAX_REAL, examples_figure, save
from genpipe.pipelines.data.statistics import Statistics, merged, with_statistics
from genpipe.pipelines.encode.config import EncodeConfig
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """Encodes every split, block by block; gives the codes' numbers, and of tokens how evenly they are used."""
    config: EncodeConfig = context.config
    model = load_model(context.inputs["model"], context.registry, context.device)
    for capability in ("encode", "decode"):
        need(model.family, capability)
    spec = code_spec(model, config.event)
    if config.num_draws > 1 and (spec.levels is not None or "posterior" not in model.family.capabilities):
        raise UsageError(
            f"encode.num_draws is {config.num_draws}, and family '{model.family.name}' has one code for an example: set it to 1"
        )
    splits = {name: open_split(context.inputs["data"], name) for name in split_names(context.inputs["data"])}
    codes = _Codes(context, config, model, spec)
    codes.todo = sum(len(split) * codes.draws(name) for name, split in splits.items())
    written = {name: codes.write(split) for name, split in splits.items()}
    spec = codes.measured_spec()
    write_index(context.out, spec, written)
    _picture(context, model, splits["test"])
    context.summary.update(
        num_examples={name: sum(shard.num for shard in shards) for name, shards in written.items()},
        event=spec.event,
        shape=list(spec.shape),
        levels=spec.levels,
        num_classes=spec.num_classes,
        metrics=codes.numbers(),
    )


class _Codes:
    """The splits' codes as they are written, and what is known of the training split's."""

    def __init__(self, context: StepContext, config: EncodeConfig, model: Model, spec: DataSpec) -> None:
        self.context, self.config, self.model, self.spec = context, config, model, spec
        self.counts = np.zeros(spec.levels or 0, dtype=np.int64)
        self.statistics: list[Statistics] = []
        # Laid flat for the statistics of each dimension, which those of images have none of.
        self.flat = replace(spec, event="vector", shape=(spec.num_dimensions,))
        self.done = self.todo = 0

    def draws(self, split: str) -> int:
        return self.config.num_draws if split == "train" else 1

    def write(self, split: Split) -> list[Shard]:
        folder = self.context.out / split.name
        folder.mkdir()
        draws = self.draws(split.name)
        writer = ShardWriter(folder, "codes", self.spec, len(split) * draws, labels=split.y is not None)
        for code, y in self._encoded(split, draws):
            writer.write(code, y)
            if split.name == "train":
                self._count(code)
            self.done += len(code)
            self.context.progress(self.done, self.todo)
        writer.flush()
        return [replace(shard, file=f"{split.name}/{shard.file}") for shard in writer.shards]

    def _encoded(self, split: Split, draws: int) -> Iterator[tuple[Array, Array | None]]:
        for draw in range(draws):
            noise = Noise(self.context.seed, f"encode {split.name} {draw}")
            for first, x, y in in_order(split, self.config.batch_size):
                labels = None
                if self.model.conditional and y is not None:
                    labels = torch.from_numpy(y).to(self.model.device)
                code = draw_codes(self.model, torch.from_numpy(x), labels, noise.at(first))
                yield code.reshape(len(x), *self.spec.shape).cpu().numpy().astype(self.spec.dtype), y

    def _count(self, code: Array) -> None:
        if self.spec.levels is not None:
            self.counts += np.bincount(code.reshape(-1), minlength=len(self.counts))
        else:
            self.statistics.append(Statistics.of(self.flat, code.reshape(len(code), -1), None))

    def measured_spec(self) -> DataSpec:
        """With the training codes' mean and deviation where they are real: what the prior is given has unit variance."""
        if not self.statistics:
            return self.spec
        flat = with_statistics(self.flat, merged(self.statistics))
        return replace(self.spec, mean=flat.mean, std=flat.std)

    def numbers(self) -> dict[str, float]:
        if self.spec.levels is None:
            return {}
        shares = self.counts[self.counts > 0] / self.counts.sum()
        return {"codes_used": float(len(shares)), "perplexity": float(np.exp(-(shares * np.log(shares)).sum()))}


def _picture(context: StepContext, model: Model, split: Split) -> None:
    """Held-out examples, in turn with what their codes tell of them."""
    x = torch.from_numpy(np.array(split.x[:MAX_REAL]))
    y = torch.from_numpy(np.array(split.y[:MAX_REAL])) if model.conditional and split.y is not None else None
    decoded = model.decode(model.encode(x, y), y).cpu()
    pairs = torch.stack([x.to(decoded.dtype), decoded], dim=1).flatten(0, 1)
    save(examples_figure(pairs.numpy(), model.spec, LIGHT), context.out / "reconstructions.png")
