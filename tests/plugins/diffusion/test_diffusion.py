"""Diffusion: the levels that training looks at, its loss, the size that the data has, labels and guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genpipe.data import Split, split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.ops import schedules
from genpipe.plugins.diffusion.config import DiffusionConfig
from genpipe.plugins.diffusion.model import Diffusion
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train
from tests.plugins.diffusion.ideal import PLANE, Replaced, diffusion, ideal


class Recording(Replaced):
    """Predicts nothing, and remembers the levels that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None, unit: Tensor | float = 1.0) -> Tensor:
        self.seen.append(log_snr)
        return torch.zeros_like(x)


def recording(**options: Any) -> Diffusion:
    model = diffusion(**options)
    model.network = Recording()
    return model


def test_levels_of_the_bound_follow_the_fall_of_log_snr() -> None:
    ladder = diffusion().ladder
    log_snr = schedules.log_snr(ladder.alpha_bar)
    torch.testing.assert_close(ladder.cumulative.diff(), (log_snr[:-1] - log_snr[1:]) / (log_snr[0] - log_snr[-1]))
    assert float(ladder.cumulative[0]) == 0
    assert float(ladder.cumulative[-1]) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_levels_of_training_mix_the_uniform_and_the_bounds(share: float) -> None:
    model = recording(bound_share=share)
    for batch in range(10):
        model.loss(torch.randn(500, 2), None, Noise(0, "train", batch * 500))
    seen, levels = torch.cat(model.network.seen).double(), model.ladder.log_snr
    mean_bound = float((model.ladder.cumulative.diff() * levels[1:]).sum())
    expected = share * mean_bound + (1 - share) * float(levels.mean())
    assert float(seen.mean()) == pytest.approx(expected, abs=0.05)


def test_edm_draws_log_sigma_from_its_normal_distribution() -> None:
    model = recording(prediction_type="edm", bound_share=0.0)
    model.loss(torch.randn(20_000, 2), None, Noise(0, "train"))
    log_sigma = -model.network.seen[0].double() / 2 + model.sigma_data.log()
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(log_sigma.std()) == pytest.approx(1.2, abs=0.02)


def test_any_run_of_examples_covers_the_timesteps_evenly() -> None:
    model = recording(bound_share=0.0)
    model.loss(torch.randn(64, 2), None, Noise(0, "train", 12_345_678))
    order = {float(level): t for t, level in enumerate(model.ladder.log_snr.float())}
    t = torch.tensor([order[float(level)] for level in model.network.seen[0]]) // 125
    assert torch.bincount(t, minlength=8).tolist() == pytest.approx([8] * 8, abs=2)


@pytest.mark.parametrize("prediction_type", ["epsilon", "edm"])
def test_a_network_that_predicts_nothing_has_loss_one(prediction_type: str) -> None:
    """The noise has variance 1, and so has F's target: of data with mean square sigma_data²."""
    model = recording(prediction_type=prediction_type, bound_share=0.0)
    z = float(model.sigma_data) * torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    assert float(model.loss(z, None, Noise(0, "train"))["loss"]) == pytest.approx(1, abs=0.04)


def test_min_snr_weighs_the_error_of_x0() -> None:
    """Predicting no noise gives x̂₀ = x/α, off by ε/√SNR: weighed by min(SNR, γ), on average E min(SNR, γ)/SNR."""
    model = recording(prediction_type="epsilon", bound_share=0.0, min_snr_gamma=5.0)
    loss = model.loss(torch.zeros(20_000, 2), None, Noise(0, "train"))["loss"]
    snr = model.ladder.log_snr.exp()
    assert float(loss) == pytest.approx(float((snr.clamp(max=5) / snr).mean()), rel=0.05)


def test_both_predictions_denoise_alike() -> None:
    x, log_snr = torch.randn(6, 2), torch.tensor([9.0, 6.0, 2.0, 0.0, -2.0, -6.0], dtype=torch.float64)
    epsilon, v = (ideal(prediction_type=p).predict(x, log_snr)[0] for p in ("epsilon", "v_prediction"))
    torch.testing.assert_close(epsilon, v, rtol=1e-3, atol=1e-3)


def split_of(scale: float) -> Split:
    x = (scale * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))).numpy()
    return Split(PLANE, "train", x, (x[:, 0] > 0).astype("int64"))


@pytest.mark.parametrize("accumulation", [1, 4])
def test_edm_measures_the_size_of_the_data_on_the_first_whole_batch(accumulation: int, tmp_path: Path) -> None:
    family, split = registry().get("family", "diffusion"), split_of(3.0)
    model = build_model(family, DiffusionConfig(prediction_type="edm", hidden=8), PLANE, seed=0)
    config = TrainConfig(steps=3, batch_size=64, accumulation=accumulation, warmup_steps=0, ema_decay=0)
    train(model, split, config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    expected = torch.from_numpy(split.x).double().square().mean().sqrt()
    torch.testing.assert_close(model.sigma_data, expected, rtol=1e-5, atol=0)


# -- labels ---------------------------------------------------------------------------------------------------


def conditional(**options: Any) -> Any:
    model = diffusion(conditional=True, hidden=16, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


def test_a_share_of_the_labels_is_hidden_by_the_numbers_of_each_example() -> None:
    model, y = conditional(label_dropout=0.25), torch.arange(4000) % 2
    whole = model.network.hide_labels(y, Noise(0, "train"))
    assert float((whole == 2).double().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(whole[whole < 2], y[whole < 2])
    assert torch.equal(model.network.hide_labels(y[3000:], Noise(0, "train", 3000)), whole[3000:])


@torch.no_grad()
def test_guidance_goes_from_no_label_through_the_label_and_beyond() -> None:
    """One step of DDIM is linear in the prediction: w = 2 lies as far beyond w = 1 as that beyond w = 0."""
    model, y = conditional(), torch.tensor([0, 1, 0, 1])
    x = [model.sample(4, y, sampler={"num_steps": 1, "guidance": w}) for w in (0.0, 1.0, 2.0)]
    assert not torch.allclose(x[0], x[1])
    torch.testing.assert_close(x[2] - x[1], x[1] - x[0], rtol=1e-3, atol=1e-4)
    hidden = model.generate(4, torch.full((4,), 2), Noise(0, "sample"), model.choose_sampler({"num_steps": 1}))
    torch.testing.assert_close(x[0], model.units.from_network(hidden), rtol=1e-3, atol=1e-4)


def test_guidance_without_hidden_labels_in_training_is_refused() -> None:
    with pytest.raises(UsageError, match="no label was hidden in training: set label_dropout above 0"):
        conditional(label_dropout=0.0).sample(2, torch.tensor([0, 1]), sampler={"guidance": 3.0})


def test_each_label_learns_its_own_data(tmp_path: Path) -> None:
    """Class 1 lies to the right of 0, class 0 to its left."""
    split = split_of(1.0)
    model: Any = build_model(
        registry().get("family", "diffusion"), DiffusionConfig(conditional=True, hidden=32), PLANE, seed=0
    )
    config = TrainConfig(steps=150, batch_size=64, learning_rate=1e-2, warmup_steps=5)
    train(model, split, config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    sides = [model.sample(100, label, sampler={"num_steps": 20})[:, 0] > 0 for label in (0, 1)]
    assert float(sides[0].double().mean()) < 0.2
    assert float(sides[1].double().mean()) > 0.8
    x, y = torch.from_numpy(split.x), torch.from_numpy(split.y)
    assert float((model.log_prob(x, y).nats - model.log_prob(x, 1 - y).nats).mean()) > 1


# -- images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 7), (1, 1, 9)])
@pytest.mark.parametrize("options", [{}, {"channel_multipliers": (1, 2, 2), "num_blocks": 2, "attention": False}])
def test_images_of_any_size_pass_the_network(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    spec = DataSpec(name="images", event="image", shape=shape, low=0.0, high=1.0)
    model = diffusion(spec, channels=4, num_bound_evaluations=2, **options)
    x = torch.rand(2, *shape)
    assert model.sample(2, sampler={"num_steps": 2}).shape == x.shape
    assert model.log_prob(x).nats.isfinite().all()


class Untouched:
    """Optimizers that take no step."""

    def minimize(self, loss: Tensor, group: str = "model") -> None:
        loss.backward()

    def sum(self, name: str, value: Tensor) -> None: ...


def test_the_position_within_a_bin_is_that_of_the_data_in_any_unit() -> None:
    spec = DataSpec(name="images", event="image", shape=(1, 4, 4), levels=17)
    model = diffusion(spec, prediction_type="edm", channels=4)
    seen = []
    model.network.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    z = torch.full((2, 1, 4, 4), -1 + 2 * 3.25 / 17)  # a quarter into bin 3
    model.ladder.log_snr += 40  # no noise to speak of
    model.train_step(Batch(z, None, Noise(0, "train")), Untouched(), 0)
    torch.testing.assert_close(seen[0][:, 1], torch.ones(2, 4, 4), rtol=0, atol=1e-2)
    torch.testing.assert_close(seen[0][:, 2], torch.zeros(2, 4, 4), rtol=0, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("prediction_type", ["v_prediction", "edm"])
def test_digits_are_bounded_far_below_one_gaussian(prediction_type: str, tmp_path: Path) -> None:
    record = registry().get("dataset", "digits")
    raw = record.builder(record.config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    split = Split(raw.spec, "train", raw.x[indices["train"]], None)
    config = DiffusionConfig(prediction_type=prediction_type)
    model = build_model(registry().get("family", "diffusion"), config, raw.spec, seed=0)
    train_config = TrainConfig(steps=1500, batch_size=64, ema_decay=0.998)
    train(model, split, train_config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    bits = model.units.bits_per_dim(model.log_prob(torch.from_numpy(raw.x[indices["test"]])).nats)
    assert float(bits.mean()) < 2.2
