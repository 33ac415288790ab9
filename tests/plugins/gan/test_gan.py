"""The GAN: its losses against closed forms, its penalty, its turns, its norms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.gan.config import GANConfig
from genpipe.plugins.gan.model import GenerativeAdversarialNetwork, build

PLANE = DataSpec(name="plane", event="vector", shape=(2,), mean=(0.0,) * 2, std=(1.0,) * 2)
IMAGE = DataSpec(name="patches", event="image", shape=(1, 5, 6), levels=17)


def made(spec: DataSpec = PLANE, **options: Any) -> GenerativeAdversarialNetwork:
    torch.manual_seed(0)
    return build(GANConfig(hidden=16, channels=8, **options), spec)


class Slope(nn.Module):
    """D(z) = w · z, whose slope is |w| everywhere."""

    def __init__(self, w: tuple[float, float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return z @ self.w[0]


class Turns:
    """Optimisers that only say what they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        self.asked.append(group)


def test_of_a_linear_critic_every_term_is_known() -> None:
    model = made(gradient_penalty=2.0)
    model.critic = Slope((3.0, 4.0))
    z, fake = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    terms = model._critic_terms(z, fake, None, Noise(0, "x"))
    assert terms["penalty"].item() == pytest.approx(16)  # (5 − 1)²
    assert terms["distance"].item() == pytest.approx(0)  # 3.5 of data, 3.5 of samples
    assert terms["loss"].item() == pytest.approx(32)


@pytest.mark.parametrize(
    ("loss", "expected"),
    # Opinions 2 of data, −1 of samples.
    [("non_saturating", 0.126928 + 0.313262), ("hinge", 0.0 + 0.0)],
)
def test_a_classifiers_losses_are_those_of_the_papers(loss: str, expected: float) -> None:
    model = made(loss=loss, spectral_norm=False)
    model.critic = Slope((1.0, 0.0))
    terms = model._critic_terms(torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), None, Noise(0, "x"))
    assert terms["loss"].item() == pytest.approx(expected, abs=1e-5)
    assert terms["distance"].item() == 3


def test_the_penalty_teaches_the_critic() -> None:
    model = made()
    z = torch.randn(4, 2)
    model._penalty(z, -z, None, Noise(0, "x")).backward()
    assert all(p.grad is not None for name, p in model.critic.named_parameters() if name.endswith("weight"))


def test_the_generator_steps_after_so_many_of_the_critic() -> None:
    model, turns = made(num_critic_steps=2), Turns()
    for step in range(6):
        terms = model.train_step(Batch(torch.randn(4, 2), None, Noise(0, "train", 4 * step)), turns, step)  # type: ignore[arg-type]
        assert terms["loss"].isfinite()
    assert turns.asked == ["critic", "critic", "generator"] * 2


@pytest.mark.parametrize("spec", [PLANE, IMAGE], ids=["vector", "image"])
def test_spectral_norm_makes_every_layer_of_the_critic_norm_one(spec: DataSpec) -> None:
    model = made(spec, loss="hinge")
    weights = [m.weight for m in model.critic.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(weights) > 2
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=1e-5)


def test_an_examples_opinion_is_its_own() -> None:
    model, z = made(IMAGE), torch.rand(5, 1, 5, 6)
    assert torch.allclose(model._judged(z, None)[2:3], model._judged(z[2:3], None), atol=1e-6)


def test_it_cannot_say_how_probable_an_example_is() -> None:
    with pytest.raises(CapabilityError, match="family 'gan' has no log_prob; it can: sample, decode"):
        made().log_prob(torch.zeros(1, 2))


CLASSES = DataSpec(name="plane", event="vector", shape=(2,), mean=(0.0,) * 2, std=(1.0,) * 2, num_classes=3)


@pytest.mark.parametrize("spec", [CLASSES, replace(IMAGE, num_classes=3)], ids=["vector", "image"])
def test_the_critics_worth_is_a_projection_on_each_classs_direction(spec: DataSpec) -> None:
    model, z = made(spec, conditional=True), torch.randn(3, *spec.shape)
    critic = model.critic
    assert critic.classes is not None
    y = torch.tensor([2, 0, 1])
    with torch.no_grad():
        directions = critic.head.weight + critic.classes.weight.T[y]
        expected = (directions * critic.features(z)).sum(dim=1) + critic.head.bias
        torch.testing.assert_close(model._judged(z, y), expected)


def test_a_generator_that_is_told_the_label_learns_where_each_class_is() -> None:
    model = made(CLASSES, conditional=True, latent_dim=2, loss="non_saturating", num_critic_steps=1)
    centres = torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    optimizers = {name: torch.optim.Adam(group, 1e-2, (0.5, 0.9)) for name, group in model.parameter_groups().items()}

    class Steps:
        def minimize(self, loss: Tensor, group: str = "model") -> None:
            parameters = model.parameter_groups()[group]
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
            ):
                parameter.grad = gradient
            optimizers[group].step()

    for step in range(240):
        y = torch.arange(48) % 3
        noise = Noise(0, "train", 48 * step)
        z = centres[y] + 0.1 * noise.normal("z", (48, 2))
        model.train_step(Batch(z, y, noise), Steps(), step)  # type: ignore[arg-type]
    with torch.no_grad():
        made_of = model.generate(90, torch.arange(90) % 3, Noise(1, "sample"), model.choose_sampler(None))
    nearest = torch.cdist(made_of, centres).argmin(dim=1)
    assert (nearest == torch.arange(90) % 3).double().mean() > 0.9
