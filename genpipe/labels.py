"""What the base of every model does with labels, once: p(y), labels that are drawn from it, and sums over all classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genpipe.answers import LogProb
from genpipe.arguments import as_tensor
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.noise import Noise


def class_fractions(spec: DataSpec) -> Tensor:
    """p(y), (K,) float64: of the training split where the data stage counted it, else the same for all classes."""
    if spec.class_fractions is None:
        assert spec.num_classes is not None
        return torch.full((spec.num_classes,), 1 / spec.num_classes, dtype=torch.float64)
    fractions = torch.tensor(spec.class_fractions, dtype=torch.float64)
    return fractions / fractions.sum()


def draw_labels(spec: DataSpec, num: int, noise: Noise) -> Tensor:
    """(num,) int64 from p(y); label i is a function of noise and noise.first_index + i alone, on any device."""
    upto = class_fractions(spec).cumsum(0)
    u = noise.uniform("label", (num,), dtype=torch.float64)
    return torch.searchsorted(upto / upto[-1], u, right=True)


def checked_labels(y: Any, num: int, spec: DataSpec, device: torch.device) -> Tensor:
    """(num,) int64 of labels (num,), or of one for all; UsageError where they are none of the classes."""
    labels = as_tensor("y", y).to(device)
    if labels.numel() == 0:
        labels = labels.to(torch.int64)  # an empty list, which has no type
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.ndim > 1:
        raise UsageError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected integers ({num},) or one")
    if labels.ndim == 1 and len(labels) != num:
        raise UsageError(f"there are {len(labels)} labels for {num} examples")
    labels = labels.to(torch.int64).expand(num)
    if (
        num
        and spec.num_classes is not None
        and not 0 <= (low := int(labels.min())) <= (high := int(labels.max())) < spec.num_classes
    ):
        wrong = low if low < 0 else high
        raise UsageError(f"label {wrong} is no class of data set '{spec.name}': those are 0 … {spec.num_classes - 1}")
    return labels


def check_can_be_learnt(family: Family, config: Any, spec: DataSpec) -> None:
    """UsageError where a model of p(x | y) has no y to learn from."""
    if not family.takes_labels(config):
        return
    chosen = hasattr(config, "conditional")
    remedy = "set model.conditional to false" if chosen else "choose a family that takes none"
    if not spec.num_classes:
        raise UsageError(
            f"family '{family.name}' models each class by its label, and data set '{spec.name}' has no labels: {remedy}"
        )
    if chosen and len(present := class_fractions(spec).nonzero().flatten().tolist()) == 1:
        raise UsageError(
            f"model.conditional: all of the training split of '{spec.name}' is of class {present[0]}, so that labels tell "
            "nothing; set it to false"
        )


def marginal(spec: DataSpec, num: int, device: torch.device, ask: Callable[[Tensor], LogProb]) -> LogProb:
    """log p(x) = log Σ_y p(y) p(x | y), of the kind that log p(x | y) has.

    ask: gives log p(x | y) for labels (num,). A sum of lower bounds of p is a lower bound, of upper ones an upper one, of
    exact values exact. The classes are to share their random numbers: what is off by the same for all of them is off by
    that here, whereas independent errors would raise the logarithm of their sum. So standard errors, and what the
    estimator's own check found, are added up by each class's share in p(y | x), as if all erred the same way.
    """
    fractions = class_fractions(spec)
    present = fractions.nonzero().flatten().tolist()
    answers = [ask(torch.full((num,), label, dtype=torch.int64, device=device)) for label in present]
    joint = torch.stack([answer.nats.double() + fractions[k].log() for answer, k in zip(answers, present, strict=True)])
    nats = joint.logsumexp(dim=0)
    shares = torch.softmax(joint, dim=0).nan_to_num(1 / len(present))

    def weighed(parts: list[Tensor | None]) -> Tensor | None:
        found = [part.double() for part in parts if part is not None]
        return (shares * torch.stack(found)).sum(dim=0) if len(found) == len(parts) else None

    return replace(
        answers[0],
        nats=nats,
        standard_error=weighed([answer.standard_error for answer in answers]),
        check=weighed([answer.check for answer in answers]),
    )


def marginal_gradient(
    spec: DataSpec,
    num: int,
    device: torch.device,
    log_density: Callable[[Tensor], Tensor],
    gradient: Callable[[Tensor], Tensor],
) -> Tensor:
    """∇ log p(x) = Σ_y p(y | x) ∇ log p(x | y), (num, *event). Both are given labels (num,)."""
    fractions = class_fractions(spec)
    present = fractions.nonzero().flatten().tolist()
    labels = [torch.full((num,), label, dtype=torch.int64, device=device) for label in present]
    joint = torch.stack([log_density(y).double() + fractions[k].log() for y, k in zip(labels, present, strict=True)])
    total: Tensor | None = None
    for share, y in zip(torch.softmax(joint, dim=0), labels, strict=True):
        slope = gradient(y)
        part = slope * share.to(slope.dtype).reshape(-1, *[1] * (slope.ndim - 1))
        total = part if total is None else total + part
    assert total is not None
    return total
