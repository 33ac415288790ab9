"""How weights lie in memory, and that nothing else depends on it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from genpipe.networks.convolutional import ImageDecoder, ImageEncoder
from genpipe.networks.layout import channels_last, inputs_outermost
from genpipe.networks.mlp import MLP


@pytest.mark.parametrize(("num_in", "size"), [(1, 3), (3, 1), (3, 3)])
def test_images_have_their_channels_innermost_after_a_convolution_of_one_channel_too(num_in: int, size: int) -> None:
    convolution = nn.Conv2d(num_in, 4, size, padding=size // 2)
    channels_last(convolution)
    image = convolution(torch.randn(2, num_in, 5, 6))
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert image.stride(1) == 1


def test_images_keep_their_layout_all_through_encoder_and_decoder() -> None:
    encoder = ImageEncoder((1, 9, 7), 4, 8, 2, 1, 0.0)
    decoder = ImageDecoder((1, 9, 7), 4, 2, 8, 2, 1, 0.0)
    strides = []
    for part in (*encoder.modules(), *decoder.modules()):
        if isinstance(part, nn.Conv2d | nn.GroupNorm):
            part.register_forward_hook(lambda _, __, image: strides.append(image.stride(1)))
    decoder(encoder(torch.randn(2, 1, 9, 7)))
    assert len(strides) > 20
    assert set(strides) == {1}


@pytest.mark.parametrize(
    "network", [ImageEncoder((1, 6, 6), 4, 4, 1, 1, 0.0), MLP(36, 4, 8, 2, 0.0, None)], ids=["image", "mlp"]
)
def test_answers_and_gradients_are_those_of_the_usual_layout(network: nn.Module) -> None:
    usual = copy.deepcopy(network)
    for parameter in usual.parameters():
        parameter.data = torch.empty(parameter.shape).copy_(parameter)
    x = torch.randn(3, 36) if isinstance(network, MLP) else torch.randn(3, 1, 6, 6)
    for each in (network, usual):
        each(x).square().sum().backward()
    torch.testing.assert_close(network(x), usual(x))
    for found, expected in zip(network.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


def test_layouts_outlive_copies_and_loading() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(3, 2))
    channels_last(network)
    inputs_outermost(network)
    strides = [weight.stride() for weight in network.parameters()]
    assert strides[0] == (9, 1, 3, 1)
    assert strides[2] == (1, 2)
    copied = copy.deepcopy(network)
    copied.load_state_dict({name: torch.zeros(value.shape) for name, value in network.state_dict().items()})
    assert [weight.stride() for weight in copied.to(torch.float64).parameters()] == strides
