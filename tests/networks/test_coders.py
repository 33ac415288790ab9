"""Encoders and decoders: shapes for events of any size, labels, and no memory of the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.networks.coders import build_decoder, build_encoder
from genpipe.networks.config import CoderConfig

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"network": "mlp", "hidden": 8, "num_layers": 3},
    "convolutional": {"network": "convolutional", "channels": 3},
    "resnet": {"network": "resnet", "channels": 6, "num_blocks": 2},
}


def images(shape: tuple[int, int, int]) -> DataSpec:
    return DataSpec(name="images", event="image", shape=shape, low=0.0, high=1.0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (2, 1, 9)])
@pytest.mark.parametrize("num_halvings", [0, 3])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_codes_and_maps_have_their_shapes_for_any_image(
    shape: tuple[int, int, int], num_halvings: int, options: dict[str, Any]
) -> None:
    config, spec = CoderConfig(num_halvings=num_halvings, **options), images(shape)
    code = build_encoder(config, spec, 5)(torch.randn(2, *shape))
    assert code.shape == (2, 5)
    assert build_decoder(config, spec, 5, 4)(code).shape == (2, 4, *shape[1:])


def test_vectors_have_an_mlp_and_no_other() -> None:
    spec = DataSpec(name="rows", event="vector", shape=(3,), mean=(0.0,) * 3, std=(1.0,) * 3)
    code = build_encoder(CoderConfig(), spec, 2)(torch.randn(4, 3))
    assert build_decoder(CoderConfig(), spec, 2, 6)(code).shape == (4, 6)
    with pytest.raises(UsageError, match="network: 'resnet' is for images, not the vectors of 'rows'"):
        build_encoder(CoderConfig(network="resnet"), spec, 2)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_an_answer_is_of_its_example_and_its_label_alone(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config, spec = CoderConfig(**options), images((1, 6, 5))
    encoder, decoder = build_encoder(config, spec, 4, num_classes=3), build_decoder(config, spec, 4, 1, num_classes=3)
    for network, x in ((encoder, torch.randn(3, 1, 6, 5)), (decoder, torch.randn(3, 4))):
        y = torch.tensor([0, 1, 2])
        whole = network(x, y)
        torch.testing.assert_close(network(x[1:], y[1:]), whole[1:], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(x, y.flip(0))[0], whole[0])


def test_a_deep_resnet_starts_as_a_shallow_one() -> None:
    torch.manual_seed(0)
    z, found = torch.randn(2, 1, 8, 8), []
    for num_blocks in (1, 3):
        torch.manual_seed(1)
        encoder = build_encoder(CoderConfig(network="resnet", num_blocks=num_blocks), images((1, 8, 8)), 4)
        for part in (encoder.stem, encoder.head, *encoder.halvings):
            torch.nn.init.constant_(part.weight, 0.01)
            torch.nn.init.zeros_(part.bias)
        found.append(encoder(z))
    torch.testing.assert_close(*found)
