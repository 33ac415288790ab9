"""The autoencoder: principal components where it is linear, noise that it removes, samples by two moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError
from genpipe.noise import Noise
from genpipe.plugins.autoencoder.config import AutoencoderConfig
from genpipe.plugins.autoencoder.model import Autoencoder, build
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import train

AXES = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.1, 0.0], [0.0, 0.0, 0.0, 0.1]])


def rows(num: int = 2000) -> Split:
    """Gaussian, with nearly all of its variance along two axes."""
    mix = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    x = torch.randn(num, 4, generator=torch.Generator().manual_seed(1)) @ AXES @ mix
    spec = DataSpec(name="rows", event="vector", shape=(4,), mean=(0.0,) * 4, std=(1.0,) * 4)
    return Split(spec, "train", x.numpy(), np.zeros(num, dtype=np.int64))


def fitted(
    tmp: Path, linear: bool = False, steps: int = 300, training: dict[str, Any] | None = None, **options: Any
) -> tuple[Autoencoder, Split]:
    torch.manual_seed(0)
    split = rows()
    model = build(AutoencoderConfig(latent_dim=2, hidden=32, **options), split.spec)
    if linear:
        model.encoder, model.decoder = torch.nn.Linear(4, 2), torch.nn.Linear(2, 4)
    config = TrainConfig(steps=steps, batch_size=256, learning_rate=1e-2, warmup_steps=0, **(training or {}))
    train(model, split, config, seed=0, device="cpu", scratch=tmp, progress=ProgressFile(None))
    return model, split


def test_a_linear_autoencoder_finds_the_principal_components(tmp_path: Path) -> None:
    model, split = fitted(tmp_path, linear=True)
    x = torch.from_numpy(split.x)
    lost = torch.linalg.eigvalsh(torch.cov(x.T))[:2].sum() / 4  # Bourlard & Kamp (1988): the least that can be lost
    found = (model.decode(model.encode(x)) - x).square().mean()
    assert float(lost) * 0.99 < float(found) < float(lost) * 1.5


def test_samples_have_the_moments_of_the_data_where_codes_are_gaussian(tmp_path: Path) -> None:
    model, split = fitted(tmp_path, linear=True)
    expected, found = (torch.cov(x.T) for x in (torch.from_numpy(split.x), model.sample(20_000)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.15)


def test_the_codes_moments_are_in_float32_where_the_networks_are_not(tmp_path: Path) -> None:
    model, split = fitted(tmp_path, steps=120, training={"precision": "bfloat16", "ema_decay": 0})
    codes = model.encode(torch.from_numpy(split.x))
    torch.testing.assert_close(model.code_square, codes.T @ codes / len(codes), rtol=0.1, atol=0.05)


def test_a_standard_normal_is_not_where_codes_are(tmp_path: Path) -> None:
    model, split = fitted(tmp_path, linear=True)
    model.encoder.weight.data *= 5  # nothing in the loss has codes of one size
    model.encoder.bias.data *= 5
    model.decoder.weight.data /= 5
    expected = torch.from_numpy(split.x).var(0).sum()
    assert float(model.sample(5000, sampler="standard_normal").var(0).sum()) < 0.5 * float(expected)


def test_a_denoising_one_removes_noise_that_a_plain_one_keeps(tmp_path: Path) -> None:
    lost = {}
    for noise_std in (0.0, 1.0):
        model, split = fitted(tmp_path / str(noise_std), noise_std=noise_std)
        x = torch.from_numpy(split.x)
        noisy = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        lost[noise_std] = float((model.decode(model.encode(noisy)) - x).square().mean())
    assert lost[1.0] < 0.8 * lost[0.0]


def test_there_is_no_likelihood() -> None:
    model = build(AutoencoderConfig(), rows(2).spec)
    with pytest.raises(CapabilityError, match="family 'autoencoder' has no log_prob"):
        model.log_prob(torch.zeros(1, 4))


def test_noise_belongs_to_the_examples() -> None:
    model, z = build(AutoencoderConfig(noise_std=0.5), rows(2).spec), torch.randn(6, 4)
    whole = model._code_of_noisy(z, Noise(0, "train", 10))
    torch.testing.assert_close(model._code_of_noisy(z[2:], Noise(0, "train", 12)), whole[2:])
