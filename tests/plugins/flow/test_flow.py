"""The flow: its log-determinants against autograd, its inverses, its base, its masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.flow.config import FlowConfig
from genpipe.plugins.flow.image_layers import alternate_channels
from genpipe.plugins.flow.layers import Autoregressive
from genpipe.plugins.flow.model import NormalizingFlow, build
from genpipe.plugins.flow.transforms import Affine
from genpipe.plugins.flow.vectors import from_logit

SPECS = {
    "vector": DataSpec(name="rows", event="vector", shape=(5,), mean=(0.0,) * 5, std=(1.0,) * 5),
    "plane": DataSpec(name="plane", event="vector", shape=(2,), mean=(0.0,) * 2, std=(1.0,) * 2),
    "scalar": DataSpec(name="column", event="vector", shape=(1,), mean=(0.0,), std=(1.0,)),
    "image": DataSpec(name="patches", event="image", shape=(1, 4, 4), levels=17),
    "colour": DataSpec(name="colours", event="image", shape=(3, 2, 6), levels=256),
    "classes": DataSpec(name="classes", event="image", shape=(1, 4, 4), levels=17, num_classes=3),
    "odd": DataSpec(name="odd", event="image", shape=(1, 3, 5), low=0.0, high=1.0),
}
STRUCTURES = [
    ("vector", "coupling"),
    ("vector", "autoregressive"),
    ("scalar", "coupling"),
    ("scalar", "autoregressive"),
    ("image", "multiscale"),
    ("image", "coupling"),
    ("image", "autoregressive"),
    ("colour", "multiscale"),
    ("odd", "multiscale"),
    ("image", "glow"),
    ("colour", "glow"),
    ("odd", "glow"),
]


def made(spec: str, structure: str = "auto", **options: Any) -> NormalizingFlow:
    """With weights far from those it starts from, in float64 so that autograd's determinant is exact."""
    torch.manual_seed(0)
    config = FlowConfig(structure=structure, hidden=16, channels=8, num_blocks=1, num_layers=3, **options)  # type: ignore[arg-type]
    model = build(config, SPECS[spec]).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def examples(spec: str, num: int = 3) -> Tensor:
    z = (
        torch.rand(num, *SPECS[spec].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.9
        - 0.95
    )
    return 2 * z if spec in ("vector", "scalar") else z


@pytest.mark.parametrize("transform", ["spline", "affine"])
@pytest.mark.parametrize(("spec", "structure"), STRUCTURES)
def test_the_log_determinant_is_autograds(spec: str, structure: str, transform: str) -> None:
    model, z = made(spec, structure, transform=transform), examples(spec)
    log_det = model.flow(z)[1].detach()
    for row in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(lambda x: model.flow(x)[0][0], z[row : row + 1])
        expected = torch.linalg.slogdet(jacobian.reshape(z[row].numel(), -1)).logabsdet
        assert float(log_det[row]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("transform", ["spline", "affine"])
@pytest.mark.parametrize(("spec", "structure"), STRUCTURES)
def test_decoding_a_code_gives_the_example_again(spec: str, structure: str, transform: str) -> None:
    model, z = made(spec, structure, transform=transform), examples(spec)
    with torch.no_grad():
        again = model.flow.inverse(model.flow(z)[0])
    assert torch.allclose(again.reshape(z.shape), z, atol=1e-6)


def test_a_density_of_two_dimensions_integrates_to_one() -> None:
    ticks = torch.linspace(-10, 10, 251, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=-1).reshape(-1, 2)
    for structure in ("coupling", "autoregressive"):
        with torch.no_grad():
            density = made("plane", structure).log_density(grid, None, Noise(0, "x")).exp()
        assert density.sum().item() * float(ticks[1] - ticks[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_data_with_a_range_has_no_probability_outside_of_it() -> None:
    model = made("odd")
    z = examples("odd")
    z[0, 0, 0, 0] = 1.5
    log_prob = model.log_density(z, None, Noise(0, "x"))
    assert log_prob[0] == -torch.inf
    assert log_prob[1:].isfinite().all()
    samples = model.float().generate(64, None, Noise(0, "x"), model.choose_sampler(None))
    assert samples.abs().max() <= 1


@settings(max_examples=30, deadline=None)
@given(num=st.integers(1, 9), flipped=st.booleans(), blocks=st.integers(0, 2))
def test_an_autoregressive_layer_sees_only_what_comes_before(num: int, flipped: bool, blocks: int) -> None:
    torch.manual_seed(num)
    order = torch.arange(num).flip(0) if flipped else torch.arange(num)
    layer = Autoregressive(order, Affine(), hidden=24, num_blocks=blocks, num_context=0, dropout=0.0)
    torch.nn.init.normal_(layer.network.head.weight)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer.network(x)[0].sum(-1), torch.randn(1, num))[:, 0]
    later = order[:, None] <= order[None, :]
    assert (jacobian[later] == 0).all()
    if num > 1 and blocks < 2:
        assert (jacobian[~later] != 0).any()


def test_each_pair_of_channels_is_told_apart_by_some_mask() -> None:
    masks = torch.stack([alternate_channels((12, 1, 1), index).flatten() for index in range(8)])
    for i in range(12):
        for j in range(i):
            assert (masks[:, i] != masks[:, j]).any()


def test_sides_that_do_not_halve_are_told() -> None:
    assert len(made("odd").flow.scales) == 1
    with pytest.raises(DataError, match=r"num_scales is 2, and images of 3 × 5 .* at most 1"):
        made("odd", num_scales=2)


def test_a_multiscale_flow_is_for_images() -> None:
    with pytest.raises(UsageError, match="use 'coupling'"):
        made("vector", "multiscale")


def test_glow_starts_with_every_channel_of_mean_0_and_variance_1() -> None:
    """One actnorm a step, each from sums over the parts of a batch."""
    torch.manual_seed(0)
    model = build(FlowConfig(structure="glow", num_layers=2, channels=8, num_blocks=0), SPECS["image"])
    z = model.units.to_network(torch.randint(0, 17, (64, 1, 4, 4)), Noise(0, "x"))

    class Sums:
        def __init__(self) -> None:
            self.totals: dict[str, Tensor] = {}

        def minimize(self, loss: Tensor, group: str = "model") -> None:
            assert loss.isfinite()

        def sum(self, name: str, value: Tensor) -> None:
            self.totals[name] = self.totals.get(name, 0) + value

    assert len(model.norms) == 4
    for step in range(6):
        sums = Sums()
        for part in z.split(32):
            model.train_step(Batch(part, None, Noise(0, "train")), sums, step)  # type: ignore[arg-type]
        with torch.no_grad():
            model.after_step(sums.totals, step)
    outputs: list[Tensor] = []
    for norm in model.norms:
        norm.register_forward_hook(lambda _, __, output: outputs.append(output[0]))
    with torch.no_grad():
        model.log_density(z, None, Noise(0, "x"))
    assert len(outputs) == 4
    for y in outputs:
        assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-5
        torch.testing.assert_close(y.var(dim=(0, 2, 3), correction=0), torch.ones(y.shape[1]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", ["image", "colour"])
def test_variational_dequantisation_stays_in_the_bin_and_keeps_the_density_exact(spec: str) -> None:
    model, levels = made(spec, dequantisation="variational"), SPECS[spec].levels
    assert levels is not None
    z, layer = examples(spec), model.dequantisation
    assert layer is not None
    y, log_det = layer(z)
    bins = [torch.floor((value + 1) * levels / 2) for value in (z, y.detach())]
    assert torch.equal(bins[0], bins[1])
    assert (y - z).abs().max() > 1e-3 / levels
    torch.testing.assert_close(layer.inverse(y), z)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0][0], z[:1])
    expected = torch.linalg.slogdet(jacobian.reshape(z[0].numel(), -1)).logabsdet
    assert float(log_det[0].detach()) == pytest.approx(float(expected), abs=1e-6)
    whole = model.log_density(z, None, Noise(0, "x"))
    torch.testing.assert_close(whole, log_det + model._base(model.flow(y)[0].flatten(1)) + model.flow(y)[1])


def test_variational_dequantisation_is_for_images_of_whole_numbers() -> None:
    for spec in ("vector", "odd"):
        with pytest.raises(UsageError, match="use 'uniform'"):
            made(spec, dequantisation="variational")


@pytest.mark.parametrize("structure", ["coupling", "autoregressive", "multiscale", "glow"])
def test_given_a_label_the_map_is_a_bijection_of_its_own(structure: str) -> None:
    model, z = made("classes", structure, conditional=True), examples("classes", 4)
    with torch.no_grad():
        codes = [model._to_base(z, torch.full((4,), label))[0] for label in range(3)]
        for label, code in enumerate(codes):
            again = model.flow.inverse(code, model._context(torch.full((4,), label)))
            z_again = from_logit(again) if model.by_logit else again
            torch.testing.assert_close(z_again.reshape(z.shape), z, atol=1e-6, rtol=0)
        # The first of the dimensions, which sees no other, sees the label too.
        for dimension in range(codes[0].shape[1]):
            assert not torch.allclose(codes[0][:, dimension], codes[1][:, dimension], atol=1e-9)


@pytest.mark.parametrize(("spec", "structure"), [("vector", "coupling"), ("image", "glow")])
def test_networks_in_bfloat16_leave_a_bijection_in_float32(spec: str, structure: str) -> None:
    model, z = made(spec, structure).float(), examples(spec).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        code, log_det = model.flow(z)
        again = model.flow.inverse(code)
    assert code.dtype == log_det.dtype == torch.float32
    torch.testing.assert_close(again.reshape(z.shape), z, atol=1e-4, rtol=0)


def test_a_masked_networks_inverse_pass_is_the_search_by_whole_passes() -> None:
    model, z = made("vector", "autoregressive"), examples("vector", 4)
    layer = model.flow.layers[0]  # type: ignore[index,union-attr]
    with torch.no_grad():
        y, x = layer(z)[0], torch.zeros_like(z)
        for dimension in layer.network.order(0).tolist():
            params = layer.network(x)[:, dimension]
            x[:, dimension] = layer.transform(y[:, dimension, None], params[:, None], inverse=True)[0][:, 0]
        torch.testing.assert_close(layer.inverse(y), x)
        torch.testing.assert_close(x, z)
