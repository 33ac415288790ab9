import numpy as np
import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.plugins.random_conv.config import RandomConvConfig
from genpipe.plugins.random_conv.extractor import build

RNG = np.random.default_rng(0)
SPEC = DataSpec(name="images", event="image", shape=(3, 12, 9), levels=256)
X = torch.from_numpy(RNG.integers(0, 256, (300, 3, 12, 9)).astype(np.uint8))


def prepared(x=X, spec=SPEC, **options):
    made = build(RandomConvConfig(**options))
    made.prepare(spec, None, x)
    return made


def test_dimensions_are_twice_the_channels():
    assert prepared()(X[:5]).shape == (5, 160)
    assert prepared(channels=(4, 6))(X[:5]).shape == (5, 20)


def test_weights_and_features_are_the_same_on_every_machine():
    features = prepared(channels=(3,))(X[:2])
    expected = [[0.416, 0.324, 0.389, 0.675, 0.475, 0.626], [0.49, 0.404, 0.42, 0.664, 0.585, 0.549]]
    torch.testing.assert_close(features, torch.tensor(expected, dtype=torch.float64), atol=1e-3, rtol=0)


def test_channels_are_standardised_on_the_training_split():
    # ReLU of a standard normal has mean 1/√(2π) = 0.40 and square mean 1/2.
    features = prepared(channels=(16,))(X)
    means, deviations = features[:, :16].mean(dim=0), features[:, 16:]
    torch.testing.assert_close(means, torch.full_like(means, 0.399), atol=0.06, rtol=0)
    square = (features[:, :16] ** 2 + deviations**2).mean(dim=0)
    torch.testing.assert_close(square, torch.full_like(square, 0.5), atol=0.1, rtol=0)


def test_units_of_the_data_do_not_matter():
    real = DataSpec(name="images", event="image", shape=(3, 12, 9), low=-5.0, high=15.0)
    scaled = ((X.to(torch.float64) + 0.5) / 256 * 20 - 5).to(torch.float32)
    torch.testing.assert_close(prepared(scaled, real)(scaled), prepared()(X), atol=1e-4, rtol=1e-3)


def test_blur_noise_and_turning_upside_down_are_seen():
    made = prepared()
    smooth = torch.nn.functional.avg_pool2d(X.to(torch.float32), 3, stride=1, padding=1).to(torch.uint8)
    ramp = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 12, 1).expand(4, 3, 12, 9) * 20
    assert (made(smooth) - made(X)).abs().mean() > 0.1
    assert (made(ramp) - made(ramp.flip(2))).abs().mean() > 0.05


def test_another_seed_is_another_network():
    first, second = prepared(), prepared(seed=1)
    assert first.fingerprint != second.fingerprint
    assert not torch.allclose(first(X[:2]), second(X[:2]))


def test_bad_input_is_named():
    with pytest.raises(UsageError, match="kernel_size is 4, expected an odd number"):
        build(RandomConvConfig(kernel_size=4))
    with pytest.raises(DataError, match="are all the same"):
        prepared(torch.full_like(X, 7))
    real = DataSpec(name="images", event="image", shape=(3, 12, 9), low=-1.0, high=1.0)
    x = torch.rand(20, 3, 12, 9)
    made = prepared(x, real)
    with pytest.raises(DataError, match=r"x has values in \[0, 3\], expected \[-1, 1\]"):
        made(torch.full((1, 3, 12, 9), 3.0) * torch.tensor([0.0, 1, 1]).reshape(1, 3, 1, 1))
    with pytest.raises(DataError, match="not finite"):
        made(torch.full((1, 3, 12, 9), torch.nan))
    with pytest.raises(DataError, match=r"shape \(1, 3, 9, 12\)"):
        made(torch.zeros(1, 3, 9, 12))
