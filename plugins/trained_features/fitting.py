"""Training of an extractor's network on the split that is its own, until what is held out of that says stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from genpipe.data import Order
from genpipe.errors import DataError, DivergedError
from genpipe.evaluation import Examples
from genpipe.plugins.trained_features.config import FittingConfig

Indices = npt.NDArray[np.int64]

HELD_OUT = 0.15  # of the split: to stop by, and as much again to judge by
LEAST_EXAMPLES = 20
LEAST_STEPS = 50  # between two looks at held-out loss
LEAST_FALL = 0.02  # of held-out loss, relative: small sets would creep on for ever
IN_MEMORY_BYTES = 1 << 30
SCORED_AT_ONCE = 512


@dataclass(frozen=True)
class Parts:
    """Indices of a split's examples: what weights are fitted to, what says when to stop, and what the result is judged
    by, which neither of those saw."""

    fit: Indices
    stop: Indices
    judge: Indices


def parts_of(num: int, seed: int, name: str) -> Parts:
    """By a keyed permutation. name: of the features, for the message where examples are too few."""
    if num < LEAST_EXAMPLES:
        raise DataError(
            f"features '{name}': the split that they are trained on has {num} examples, expected at least "
            f"{LEAST_EXAMPLES}; raise data.features_fraction"
        )
    order, held_out = Order(num, seed).indices(0, num), round(HELD_OUT * num)
    return Parts(order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])


def in_memory(x: Examples) -> Examples:
    """Read once where it is small: steps take examples at random."""
    one = np.asarray(x[0:1])
    held: Examples = np.asarray(x[0 : len(x)]) if one.nbytes * len(x) <= IN_MEMORY_BYTES else x
    return held


def batches(which: Indices, size: int = SCORED_AT_ONCE) -> Iterator[Indices]:
    for start in range(0, len(which), size):
        yield which[start : start + size]


def mean_loss(loss: Callable[[Indices], Tensor], which: Indices) -> float:
    """loss: the mean over the examples that it is given."""
    with torch.no_grad():
        return sum(float(loss(batch)) * len(batch) for batch in batches(which)) / len(which)


def fit(
    network: nn.Module, loss: Callable[[Indices], Tensor], parts: Parts, config: FittingConfig
) -> list[dict[str, float]]:
    """Leaves the network in eval mode with its best weights. Gives the logged steps: loss and held-out loss.

    At each learning rate it goes on until held-out loss has not fallen `patience` times in a row, then back to the
    best weights: the second rate begins there.
    """
    order = Order(len(parts.fit), config.seed)
    every = max(LEAST_STEPS, math.ceil(len(parts.fit) / config.batch_size))
    step, history = 0, []
    best, kept = math.inf, _weights(network)
    for learning_rate in (config.learning_rate, config.learning_rate / 10):
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
        failed = 0
        while failed < config.patience and step < config.max_steps:
            network.train()
            total, last = 0.0, min(step + every, config.max_steps)
            for at in range(step, last):
                value = loss(parts.fit[order.indices(at * config.batch_size, config.batch_size)])
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                total += float(value.detach())
            network.eval()
            held_out = mean_loss(loss, parts.stop)
            history.append({"step": last, "loss": total / (last - step), "held-out loss": held_out})
            step = last
            if not math.isfinite(held_out):
                raise DivergedError(f"training of features: the loss was not finite by step {step}")
            failed = 0 if held_out < (1 - LEAST_FALL) * best else failed + 1
            if held_out < best:
                best, kept = held_out, _weights(network)
        network.load_state_dict(kept)
    network.eval()
    return history


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
