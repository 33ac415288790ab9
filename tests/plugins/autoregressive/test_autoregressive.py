"""The PixelCNNs: what each pixel may see, and samples that are those of the naive loop. All networks: exact
probabilities of whole numbers, labels, and what they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genpipe import ops
from genpipe.data import Split, split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.noise import Noise
from genpipe.ops.reference import pixelcnn as reference
from genpipe.plugins.autoregressive.config import AutoregressiveConfig
from genpipe.plugins.autoregressive.model import Autoregressive, build
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train

NETWORKS = ["gated_pixelcnn", "pixelcnn_pp"]
BOTH = pytest.mark.parametrize("network", NETWORKS)


def made(
    network: str,
    shape: tuple[int, int, int],
    levels: int,
    gain: float = 1.7,
    spec: Mapping[str, Any] | None = None,
    **options: Any,
) -> Autoregressive:
    """A model with weights large enough that pixels depend on each other."""
    torch.manual_seed(0)
    small = {"channels": 10, "num_layers": 3, "first_kernel_size": 5, "num_mixtures": 3}
    of = DataSpec(name="images", event="image", shape=shape, levels=levels, **(spec or {}))
    model = build(AutoregressiveConfig(network=network, **{**small, **options}), of).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


@BOTH
@pytest.mark.parametrize(("shape", "halvings"), [((1, 6, 7), 2), ((3, 5, 4), 1), ((3, 3, 3), 0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_samples_are_those_of_a_full_pass_per_pixel(network, shape, halvings, dtype):
    # In float32 too: with these seeds no uniform falls within rounding of a decision's edge.
    net = made(network, shape, 9, num_halvings=halvings).to(dtype).network
    key = ops.key(0, "pixels")
    with torch.no_grad():
        naive = reference.pixelcnn_sample_naive(net, shape, 9, net.num_mixtures, key, 6, 3, dtype)
    assert torch.equal(ops.pixelcnn_sample(net.program(), key, 6, first_index=3), naive)
    assert len(naive.unique()) > 4


def dependencies(model: Autoregressive, groups: int) -> Tensor:
    """(groups, pixels, channels, pixels): whether a group of outputs at one pixel feels a channel of another."""
    net = model.double().network
    shape = model.spec.shape
    x = torch.randn(shape, dtype=torch.float64)
    mixing = torch.randn(net(x[None]).shape[1], 1, dtype=torch.float64)  # one number of a group's outputs

    def outputs(x: Tensor) -> Tensor:
        return (net(x[None])[0].flatten(1) * mixing).unflatten(0, (groups, -1)).sum(1)

    return torch.autograd.functional.jacobian(outputs, x).flatten(-2) != 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gated_pixelcnn_sees_all_that_comes_before_and_nothing_else(channels):
    model = made("gated_pixelcnn", (channels, 5, 6), 2, gain=1.0, num_layers=7, channels=36)
    feels = dependencies(model, groups=channels)
    pixels = torch.arange(30)
    earlier = pixels[None] < pixels[:, None]
    for c, source in itertools.product(range(channels), repeat=2):
        same_pixel = torch.eye(30, dtype=torch.bool) & (source < c)
        assert torch.equal(feels[c, :, source], earlier | same_pixel), (c, source)


@pytest.mark.parametrize("halvings", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixelcnn_pp_sees_all_that_comes_before_and_nothing_else(channels, halvings):
    options = {"num_halvings": halvings, "num_resnets": 2 if halvings else 4}
    feels = dependencies(made("pixelcnn_pp", (channels, 5, 6), 4, gain=1.0, **options), groups=1)
    pixels = torch.arange(30)
    for source in range(channels):
        assert torch.equal(feels[0, :, source], pixels[None] < pixels[:, None]), source


def all_images(shape: tuple[int, int, int], levels: int) -> Tensor:
    size = shape[0] * shape[1] * shape[2]
    return torch.tensor(list(itertools.product(range(levels), repeat=size))).view(-1, *shape)


@BOTH
@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 3), ((3, 1, 2), 2)])
def test_probabilities_add_up_to_one(network, shape, levels):
    model = made(network, shape, levels)
    assert float(model.log_prob(all_images(shape, levels)).nats.double().exp().sum()) == pytest.approx(1, abs=1e-5)


@BOTH
def test_samples_come_as_often_as_log_prob_says(network):
    """All sixteen 2×2 binary images, chi-square with 15 degrees of freedom."""
    model, num = made(network, (1, 2, 2), 2), 20_000
    expected = num * model.log_prob(all_images((1, 2, 2), 2)).nats.double().exp()
    numbers = model.sample(num, seed=1).long().flatten(1) @ torch.tensor([8, 4, 2, 1])
    assert float(((numbers.bincount(minlength=16) - expected).square() / expected).sum()) < 37.7  # 0.1 %


@BOTH
def test_nothing_is_dequantised(network):
    model = made(network, (1, 4, 3), 5)
    x = torch.randint(5, (6, 1, 4, 3))
    assert torch.equal(model.log_prob(x, seed=1).nats, model.log_prob(x, seed=2).nats)
    z = model.units.to_network(x, Noise(0, "train"))
    assert torch.equal(z, model.units.to_network(x, None))
    assert torch.equal(model.log_prob(x).nats, -model.network.nll(x, None).detach())


def test_real_values_are_refused():
    spec = DataSpec(name="photographs", event="image", shape=(1, 4, 4), low=0.0, high=1.0)
    with pytest.raises(UsageError, match="models whole numbers, not the real values of 'photographs'"):
        build(AutoregressiveConfig(), spec)


@pytest.mark.parametrize("option", ["kernel_size", "first_kernel_size"])
def test_even_kernels_are_refused(option):
    with pytest.raises(ValidationError, match=f"{option} is 4, expected an odd number"):
        AutoregressiveConfig(**{option: 4})


def test_pixelcnn_pp_refuses_channels_that_its_likelihood_does_not_know():
    with pytest.raises(UsageError, match="images of 1 or 3 channels, and those of 'images' have 2"):
        made("pixelcnn_pp", (2, 4, 4), 5)


class OpNames(TorchDispatchMode):
    """The ops of genpipe's that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "genpipe":
            self.found.add(func._schema.name.split("::")[1])
        return func(*args, **(kwargs or {}))


def test_the_hot_paths_run_on_the_compiled_ops():
    model = made("gated_pixelcnn", (1, 4, 4), 5)
    z = model.units.to_network(torch.randint(5, (2, 1, 4, 4)), None)
    with OpNames() as trained:
        model.loss(z, None, Noise(0, "train"))["loss"].backward()
    hot = {"masked_conv2d", "masked_conv2d_weight_backward", "gated_activation", "categorical_nll_with_slope"}
    assert hot <= trained.found
    with OpNames() as trained:
        made("pixelcnn_pp", (1, 4, 4), 5).loss(z, None, Noise(0, "train"))["loss"].backward()
    assert "discretized_logistic_mixture_nll_with_slope" in trained.found
    for network in NETWORKS:
        with OpNames() as drawn:
            made(network, (1, 4, 4), 5).sample(2)
        assert "pixelcnn_sample" in drawn.found


@BOTH
def test_a_labels_examples_add_up_to_one_and_the_model_to_the_sum_over_labels(network):
    spec_of = {"num_classes": 3, "class_fractions": (0.5, 0.3, 0.2)}
    model = made(network, (1, 2, 2), 2, spec=spec_of, conditional=True)
    everything = all_images((1, 2, 2), 2)
    of_label = [model.log_prob(everything, torch.full((16,), y)).nats.double().exp() for y in range(3)]
    assert [float(p.sum()) for p in of_label] == pytest.approx([1, 1, 1], abs=1e-5)
    assert float((of_label[0] - of_label[1]).abs().max()) > 0.01
    together = sum(share * p for share, p in zip(spec_of["class_fractions"], of_label, strict=True))
    torch.testing.assert_close(model.log_prob(everything).nats.double().exp(), together, rtol=1e-4, atol=1e-6)


@BOTH
def test_samples_of_mixed_labels_are_those_of_each_label_alone(network):
    model = made(network, (1, 5, 4), 9, spec={"num_classes": 3}, conditional=True)
    y = torch.tensor([2, 2, 0, 1, 1, 0])
    mixed = model.sample(6, y, seed=3)
    for label in range(3):
        alone = model.sample(6, label, seed=3)
        assert torch.equal(mixed[y == label], alone[y == label])
    assert not torch.equal(model.sample(6, 0, seed=3), model.sample(6, 1, seed=3))


@BOTH
def test_samples_of_a_label_are_those_of_a_full_pass_per_pixel(network):
    net = made(network, (1, 5, 4), 9, spec={"num_classes": 3}, conditional=True).double().network
    key, y = ops.key(0, "pixels"), torch.full((6,), 2)

    def labelled(x: Tensor) -> Tensor:
        return net(x, y)

    with torch.no_grad():
        naive = reference.pixelcnn_sample_naive(labelled, (1, 5, 4), 9, net.num_mixtures, key, 6, 3, torch.float64)
    assert torch.equal(ops.pixelcnn_sample(net.program(2), key, 6, first_index=3), naive)


def test_channels_are_a_multiple_of_the_images():
    model = made("gated_pixelcnn", (3, 4, 4), 5, channels=10)
    assert model.network.hidden.weight.shape[:2] == (12, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps", "most"),
    [
        ({}, 600, 1.95),
        ({"network": "transformer", "channels": 64, "num_layers": 4, "dropout": 0.1}, 500, 1.95),
        ({"network": "recurrent", "channels": 96, "num_layers": 2, "dropout": 0.2}, 800, 1.95),
        # MADE alone finds out which pixels are near each other, from 1,438 examples.
        (
            {"network": "made", "flatten": True, "hidden": 256, "num_layers": 1, "num_orders": 8, "dropout": 0.4},
            1000,
            2.15,
        ),
    ],
    ids=["gated_pixelcnn", "transformer", "recurrent", "made"],
)
def test_digits_are_far_more_probable_than_under_a_mixture(options, steps, most, tmp_path: Path):
    record = registry().get("dataset", "digits")
    raw = record.builder(record.config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    split = Split(raw.spec, "train", raw.x[indices["train"]], None)
    family, config = registry().get("family", "autoregressive"), AutoregressiveConfig(**options)
    model = build_model(family, config, raw.spec, seed=0)
    train_config = TrainConfig(steps=steps, batch_size=64)
    train(model, split, train_config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    bits = model.units.bits_per_dim(model.log_prob(torch.from_numpy(raw.x[indices["test"]])).nats)
    assert float(bits.mean()) < most
