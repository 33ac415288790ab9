"""How the contract tests call each registered op, a file per domain, and the inputs that several tests share.

A new op adds a Case here and nothing elsewhere: tests/ops/test_contract.py runs over all of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# 0, 1, a vector's width and its neighbours, a sum block's, a noise tile's; and shapes of more dimensions.
EVENTS = [(), (1,), (3,), (15,), (16,), (17,), (255,), (256,), (257,), (1023,), (1025,), (2600,), (3, 5, 7), (0,)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
SIZES = [(3, 5), (2, 37), (3, 1300)]


def randn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values behind other strides; x: (B, C, H, W)."""
    return {
        "transposed": x.transpose(1, 3).contiguous().transpose(1, 3),
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "offset": torch.cat([x[:1], x])[1:],
        "strided": torch.stack([x, -x], dim=-1)[..., 0],
        "reversed rows twice": x.flip(0).flip(0),
    }


@dataclass
class Draw:
    """What a case makes its arguments from; each tensor is the next of a fixed sequence."""

    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    rows: int = 3
    columns: int = 5
    grad: bool = False  # whether leaf() requires one
    drawn: int = field(default=0, init=False)

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Standard normals of the case's dtype, or of another."""
        self.drawn += 1
        return randn(*shape, dtype=dtype or self.dtype, seed=self.drawn, device=self.device)

    def leaf(self, *shape: int) -> Tensor:
        """Normals towards which the op is differentiable."""
        return self.normal(*shape).requires_grad_(self.grad)

    def levels(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high)."""
        self.drawn += 1
        generator = torch.Generator().manual_seed(self.drawn)
        return torch.randint(high, shape, generator=generator).to(self.device)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The precision that the case's dtype computes in, and row sums are given in."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Case:
    """One call of a registered op, over the dtypes and sizes that it takes.

    make: gives the arguments of torch.ops.genpipe.<op>, in the order of its schema, using the draw's leaf() for what
    it is differentiable in. sized: whether the draw's rows and columns matter. exact_on_cuda: whether CUDA gives the
    CPU's bits, and not only its values to rounding.
    """

    op: str
    make: Callable[[Draw], tuple[Any, ...]]
    about: str = ""
    dtypes: tuple[torch.dtype, ...] = tuple(DTYPES)
    sized: bool = True
    exact_on_cuda: bool = True

    @property
    def id(self) -> str:
        return f"{self.op}: {self.about}" if self.about else self.op

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return SIZES if self.sized else SIZES[:1]

    @property
    def call(self) -> Any:
        return getattr(torch.ops.genpipe, self.op).default

    @property
    def mutates(self) -> bool:
        return any(a.alias_info is not None and a.alias_info.is_write for a in self.call._schema.arguments)


def outputs_of(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [x for x in result if isinstance(x, Tensor)] if result else []


def forward_and_backward(case: Case, draw: Draw) -> list[Tensor]:
    """The op's outputs, what it wrote into its arguments, and its gradients, from arguments that are drawn afresh."""
    draw.grad = True
    arguments = case.make(draw)
    outputs = outputs_of(case.call(*arguments))
    leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    wanted = [y for y in outputs if y.requires_grad]
    grads: list[Tensor] = []
    if leaves and wanted:
        towards = [randn(*y.shape, dtype=y.dtype, seed=99 + i).to(y.device) for i, y in enumerate(wanted)]
        grads = [g for g in torch.autograd.grad(wanted, leaves, towards, allow_unused=True) if g is not None]
    written = [x for x in arguments if isinstance(x, Tensor) and not x.requires_grad] if case.mutates else []
    return [x.detach().cpu() for x in (*outputs, *written, *grads)]


def _modules() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def all_cases() -> list[Case]:
    return [case for module in _modules() for case in module.CASES]


def all_mistakes() -> dict[str, Callable[[], object]]:
    """A text's beginning, after "genpipe.", and a call that ends in it; trailing blanks tell equal texts apart."""
    mistakes: dict[str, Callable[[], object]] = {}
    for module in _modules():
        assert not mistakes.keys() & module.MISTAKES.keys(), f"{module.__name__} repeats a text"
        mistakes |= module.MISTAKES
    return mistakes
