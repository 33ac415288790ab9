"""Mean and spread of log-probabilities, in states that merge exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.evaluation import State


def moments(values: Tensor) -> State:
    """num, mean and m2, the sum of squared deviations, of the finite ones of values (N,); num_infinite of the others."""
    finite = values[values.isfinite()].to(torch.float64)
    mean = finite.mean() if len(finite) else torch.zeros((), dtype=torch.float64)
    return {
        "num": torch.tensor(len(finite)),
        "num_infinite": torch.tensor(len(values) - len(finite)),
        "mean": mean,
        "m2": (finite - mean).square().sum(),
    }


def merged(first: State, second: State) -> State:
    """Those of both together: Chan, Golub & LeVeque (1983), eq. 1.5."""
    num = first["num"] + second["num"]
    share = second["num"].to(torch.float64) / num.clamp(min=1)
    delta = second["mean"] - first["mean"]
    return {
        "num": num,
        "num_infinite": first["num_infinite"] + second["num_infinite"],
        "mean": first["mean"] + delta * share,
        "m2": first["m2"] + second["m2"] + delta.square() * first["num"] * share,
    }


def mean_and_error(state: State) -> tuple[float, float | None]:
    """The mean and its standard error; −∞ and None where a value is infinite, and None of fewer than two."""
    num = int(state["num"])
    if int(state["num_infinite"]):
        return -math.inf, None
    return float(state["mean"]), math.sqrt(float(state["m2"]) / (num - 1) / num) if num > 1 else None


def under(prefix: str, state: State) -> State:
    return {f"{prefix}/{name}": value for name, value in state.items()}


def at(prefix: str, state: State) -> State:
    """The part of a state that `under` put there; empty where it put nothing."""
    return {name.removeprefix(f"{prefix}/"): v for name, v in state.items() if name.startswith(f"{prefix}/")}
