"""What normalising flows and energy models spend their time in."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec

import torch

from benchmarks.ops.case import Case, label
from genpipe import ops
from genpipe.ops import reference

BOUND, BINS = 5.0, 8


def cases(device: str) -> list[Case]:
    return [*spline((4096, 64), device), coupling((64, 48, 32, 32), device), langevin((128, 3, 32, 32), device)]


def spline(shape: tuple[int, ...], device: str) -> list[Case]:
    x = 2 * torch.randn(shape, device=device)
    params = torch.randn(*shape, 3 * BINS - 1, device=device)
    grad_y, grad_params = torch.randn(shape, device=device), torch.empty_like(params)
    x.requires_grad_()
    params.requires_grad_()

    def eager(inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return reference.rational_quadratic_spline(x, params, bound=BOUND, inverse=inverse)

    def zuko(inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        from zuko.transforms import MonotonicRQSTransform

        transform = MonotonicRQSTransform(*params.split((BINS, BINS, BINS - 1), -1), bound=BOUND)
        y, log_slope = (transform.inv if inverse else transform).call_and_ladj(x)
        return y, log_slope.sum(1)

    def nflows(inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline

        y, log_slope = unconstrained_rational_quadratic_spline(
            x, *params.split((BINS, BINS, BINS - 1), -1), inverse=inverse, tail_bound=BOUND
        )
        return y, log_slope.sum(1)

    def both_ways(forward: Callable[[bool], tuple[torch.Tensor, torch.Tensor]], inverse: bool) -> Callable[[], object]:
        def run() -> object:
            y, log_det = forward(inverse)
            return torch.autograd.grad((y, log_det.sum()), (x, params), (grad_y, None))

        return run

    def ours(inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return ops.rational_quadratic_spline(x, params, bound=BOUND, inverse=inverse)

    def limit() -> object:  # the parameters are read twice and their gradient written
        grad_params.copy_(params.detach())
        return params.detach().sum()

    rivals = {"zuko": zuko, "nflows": nflows}
    return [
        Case(
            f"spline{', inverse' if inverse else ''}, {BINS} bins, {label(shape)}, both ways",
            both_ways(ours, inverse),
            both_ways(eager, inverse),
            compiled=lambda compile, inverse=inverse: both_ways(compile(eager), inverse),
            rivals={
                **{name: both_ways(rival, inverse) for name, rival in rivals.items() if installed(name)},
                "limit": limit,
            },
            goals={"zuko": 5.0},
        )
        for inverse in (False, True)
    ]


def installed(name: str) -> bool:
    return find_spec(name) is not None


def coupling(shape: tuple[int, ...], device: str) -> Case:
    x = torch.randn(shape, device=device).requires_grad_()
    params = torch.randn(shape[0], 2 * shape[1], *shape[2:], device=device).mul_(0.1).requires_grad_()
    grad_y = torch.randn(shape, device=device)

    def eager() -> tuple[torch.Tensor, torch.Tensor]:
        shift, log_scale = params.chunk(2, 1)
        s = 2 * torch.tanh(log_scale / 2)
        return x * s.exp() + shift, s.sum((1, 2, 3))

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return ops.affine_coupling(x, *params.chunk(2, 1), limit=2.0)

    def both_ways(forward: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> Callable[[], object]:
        def run() -> object:
            y, log_det = forward()
            return torch.autograd.grad((y, log_det.sum()), (x, params), (grad_y, None))

        return run

    return Case(
        f"affine coupling, {label(shape)}, both ways",
        both_ways(ours),
        both_ways(eager),
        compiled=lambda compile: both_ways(compile(eager)),
    )


def langevin(shape: tuple[int, ...], device: str) -> Case:
    x, grad = torch.randn(shape, device=device), torch.randn(shape, device=device)
    out, key = torch.empty_like(x), ops.key(0, "benchmark")
    options = {"step_size": 1e-2, "clamp": (-1.0, 1.0)}

    def eager() -> torch.Tensor:
        return (x - 0.5 * 1e-2 * grad + math.sqrt(1e-2) * torch.randn_like(x)).clamp(-1.0, 1.0)

    return Case(
        f"Langevin step, {label(shape)}",
        lambda: ops.langevin_step(x, grad, key, **options),
        eager,
        rivals={"limit": lambda: torch.add(x, grad, out=out)},
    )
