import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.plugins.pixels.config import IdentityConfig, StandardiseConfig
from genpipe.plugins.pixels.identity import Identity, build
from genpipe.plugins.pixels.standardise import Standardise

IMAGES = DataSpec(name="images", event="image", shape=(1, 2, 2), levels=17)
POINTS = DataSpec(name="points", event="vector", shape=(2,))


def prepared(spec, train, **options):
    made = Standardise(StandardiseConfig(**options))
    made.prepare(spec, None, train)
    return made


def test_identity_flattens_to_float64():
    x = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    features = build(IdentityConfig())(x)
    assert features.dtype == torch.float64
    assert features.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert Identity().fingerprint == "identity"


def test_standardise_gives_the_training_split_mean_0_and_deviation_1():
    train = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1000.0]) + 5
    features = prepared(POINTS, train)(train)
    torch.testing.assert_close(features.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(2, dtype=torch.float64))


def test_a_pixel_that_is_always_blank_does_not_blow_up():
    train = torch.randint(0, 17, (100, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    train[:, 0, 0, 0] = 0
    features = prepared(IMAGES, train)(torch.full((1, 1, 2, 2), 16, dtype=torch.uint8))
    assert features.isfinite().all()
    assert features.abs().max() < 50


def test_a_constant_column_of_a_table_is_an_error():
    train = torch.full((10, 2), 0.1)
    train[:, 1] = torch.arange(10)
    with pytest.raises(DataError, match="1 of 2 positions are constant"):
        prepared(POINTS, train)


def test_fingerprint_follows_the_training_split():
    train = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert prepared(POINTS, train).fingerprint == prepared(POINTS, train.flip(0)).fingerprint
    assert prepared(POINTS, train).fingerprint != prepared(POINTS, train * 2).fingerprint
