"""The families spend their time in the compiled ops: which of them a training step and sampling call.

A family that has ops of its own adds a HotPath.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genpipe.dataspec import DataSpec
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.registry import registry
from genpipe.training.loop import build_model

IMAGES = DataSpec(name="images", event="image", shape=(1, 8, 8), levels=17)


@dataclass(frozen=True)
class HotPath:
    """train, sample: ops that have to be called; never: what they stand in for, and may not be called in either."""

    family: str
    train: frozenset[str]
    sample: frozenset[str]
    spec: DataSpec = IMAGES
    config: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] | None = None
    never: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return " ".join(map(str, (self.family, *self.config.values(), *(self.sampler or {}).values())))


HOT_PATHS = [
    *(
        HotPath(
            "diffusion",
            train=frozenset({"q_sample", "diffusion_loss_with_slope", "scale_rows_"}),
            sample=frozenset({"sampler_step_out"}),
            sampler={"name": name, "num_steps": 3},
            config={"channels": 8},
            never=frozenset({"aten::randn", "aten::randn_like", "aten::normal_"}),
        )
        for name in ("ddpm", "ddim", "dpmsolver++", "heun", "euler")
    ),
    *(
        HotPath(
            "flow_matching",
            train=frozenset({"q_sample", "diffusion_loss_with_slope", "scale_rows_"}),
            sample=frozenset({"sampler_step_out"}),
            sampler={"name": "heun", "num_steps": 2},
            config={"channels": 8, "coupling": coupling, "coupling_size": 4},
            never=frozenset({"aten::randn", "aten::randn_like", "aten::normal_"}),
        )
        for coupling in ("independent", "optimal_transport")
    ),
    HotPath(
        "vqvae",
        train=frozenset({"knn_distances", "discretized_logistic_mixture_nll_with_slope"}),
        sample=frozenset({"gumbel", "uniform"}),
    ),
    *(
        HotPath(
            "energy",
            train=frozenset({"langevin_step"}),
            sample=frozenset({op}),
            sampler={"name": name, "num_steps": 3},
            config={"channels": 4, "hidden": 16},
            never=frozenset({"aten::randn", "aten::randn_like", "aten::normal_"}),
        )
        for name, op in (("langevin", "langevin_step_out"), ("metropolis", "langevin_step"))
    ),
    HotPath("vae", train=frozenset({"gaussian_reparam", "gaussian_nll"}), sample=frozenset({"normal"})),
    *(
        HotPath(
            "flow",
            train=frozenset({op, f"{op}_backward"}),
            sample=frozenset({op, base}),
            config={"structure": structure, "transform": transform, "hidden": 16, "channels": 8},
        )
        for structure, transform, op, base in (
            ("multiscale", "spline", "rational_quadratic_spline", "uniform"),
            ("autoregressive", "spline", "rational_quadratic_spline", "uniform"),
            ("glow", "affine", "affine_coupling", "normal"),
        )
    ),
    HotPath("gaussian", train=frozenset({"moments"}), sample=frozenset({"normal"})),
    HotPath("kernel_density", train=frozenset({"knn_distances"}), sample=frozenset({"normal", "randint"})),
    HotPath("gan", train=frozenset({"normal", "uniform"}), sample=frozenset({"normal"}), config={"channels": 8}),
    HotPath(
        "vae",
        train=frozenset({"normal", "gaussian_nll", "log_mean_exp"}),
        sample=frozenset({"normal"}),
        config={"objective": "dreg", "num_codes": 2, "channels": 8},
    ),
    *(
        HotPath(
            "discrete_vae",
            train=frozenset({"gaussian_reparam", f"{op}_with_slope", "scale_rows_"}),
            sample=frozenset({"normal"}),
            config={"decoder": decoder, "channels": 8},
        )
        for decoder, op in {
            "logistic_mixture": "discretized_logistic_mixture_nll",
            "bernoulli": "bernoulli_nll",
            "categorical": "categorical_nll",
        }.items()
    ),
    HotPath(
        "autoregressive",
        train=frozenset({"masked_conv2d", "masked_conv2d_input_backward", "masked_conv2d_weight_backward"}),
        sample=frozenset({"pixelcnn_sample"}),
        config={"channels": 8},
    ),
    HotPath(
        "autoregressive",
        train=frozenset({"discretized_logistic_mixture_nll_with_slope"}),
        sample=frozenset({"pixelcnn_sample"}),
        config={"network": "pixelcnn_pp", "channels": 8, "num_resnets": 1},
    ),
    *(
        HotPath(
            "autoregressive",
            train=frozenset({"categorical_nll_with_slope"}),
            sample=frozenset({"uniform"}),
            config={"network": network, "channels": 8, "num_layers": 1, "hidden": 16, "flatten": network == "made"},
            never=frozenset({"aten::multinomial", "aten::rand"}),
        )
        for network in ("transformer", "recurrent", "made")
    ),
]


class Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops.add(func._schema.name)
        return func(*args, **(kwargs or {}))


@contextmanager
def recorded() -> Iterator[set[str]]:
    with Recorder() as recorder:
        yield recorder.ops


class Backward:
    """Optimizers that take no step: the gradient is what a training step computes."""

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        loss.backward()

    def sum(self, name: str, value: Tensor) -> None:
        pass

    rows = sum


def called(ops: set[str]) -> set[str]:
    return {name.removeprefix("genpipe::") for name in ops if name.startswith("genpipe::")}


@pytest.mark.parametrize("path", HOT_PATHS, ids=lambda path: path.id)
def test_training_and_sampling_call_the_compiled_ops(path: HotPath) -> None:
    record = registry().get("family", path.family)
    model = build_model(record, record.config_class(**path.config), path.spec, seed=0)
    batch = Batch(torch.rand(4, *path.spec.shape) * 2 - 1, None, Noise(0, "train"))
    with recorded() as training:
        if record.training == "closed_form":
            model.fit(lambda: iter([batch]), lambda *a, **k: None)
        else:
            model.train_step(batch, Backward(), 0)
    model.eval()
    with recorded() as sampling:
        model.sample(2, sampler=path.sampler)
    assert path.train <= called(training)
    assert path.sample <= called(sampling)
    assert not path.never & (training | sampling)


class NoWaiting(TorchDispatchMode):
    """Refuses what an accelerator's answer has to be waited for: numbers as Python's, and shapes that depend on them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        assert name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"), name
        if name in ("aten::index", "aten::index_put_", "aten::index_put"):
            assert all(index is None or index.dtype != torch.bool for index in args[1]), f"{name} by a mask"
        return func(*args, **(kwargs or {}))


class Gathering(Backward):
    """Optimizers that keep what was gathered."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def sum(self, name: str, value: Tensor) -> None:
        self.totals[name] = value.detach()

    rows = sum


CLOSED_FORMS = ("gaussian", "kernel_density")


def runs_ahead(path: HotPath) -> bool:
    """Whether every step may: an assignment is solved by the processor, and an energy's base is fitted in the first."""
    return path.config.get("coupling") != "optimal_transport" and path.family not in ("energy", *CLOSED_FORMS)


TRAININGS = {(path.family, *path.config.items()): path for path in HOT_PATHS if runs_ahead(path)}


@pytest.mark.parametrize("path", TRAININGS.values(), ids=lambda path: path.id)
def test_a_training_step_waits_for_no_number(path: HotPath) -> None:
    record = registry().get("family", path.family)
    model = build_model(record, record.config_class(**path.config), path.spec, seed=0)
    z = torch.rand(4, *path.spec.shape) * 2 - 1
    for step in range(2):
        optimizers, batch = Gathering(), Batch(z, None, Noise(0, "train", 4 * step))
        with NoWaiting():
            model.train_step(batch, optimizers, step)
            with torch.no_grad():
                model.after_step(optimizers.totals, step)
