"""Which encoder and decoder a config means."""

from __future__ import annotations

from torch import nn

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.networks.config import CoderConfig
from genpipe.networks.convolutional import ImageDecoder, ImageEncoder
from genpipe.networks.mlp import MLPDecoder, MLPEncoder


def build_encoder(config: CoderConfig, spec: DataSpec, num_out: int, num_classes: int | None = None) -> nn.Module:
    """z (B, *event), y (B,) or None → (B, num_out). num_classes: of the labels that it takes; None takes none."""
    if _network(config, spec) == "mlp":
        return MLPEncoder(spec.shape, num_out, config.hidden, config.num_layers, config.dropout, num_classes)
    return ImageEncoder(
        spec.shape, num_out, config.channels, config.num_halvings, _num_blocks(config), config.dropout, num_classes
    )


def build_decoder(
    config: CoderConfig, spec: DataSpec, num_in: int, num_out: int, num_classes: int | None = None
) -> nn.Module:
    """Codes (B, num_in), y (B,) or None → maps (B, num_out, H, W) for images, (B, num_out) for vectors."""
    if _network(config, spec) == "mlp":
        return MLPDecoder(spec.shape, num_in, num_out, config.hidden, config.num_layers, config.dropout, num_classes)
    return ImageDecoder(
        spec.shape,
        num_in,
        num_out,
        config.channels,
        config.num_halvings,
        _num_blocks(config),
        config.dropout,
        num_classes,
    )


def _network(config: CoderConfig, spec: DataSpec) -> str:
    if config.network is None:
        return "convolutional" if spec.event == "image" else "mlp"
    if config.network != "mlp" and spec.event != "image":
        raise UsageError(
            f"network: '{config.network}' is for images, not the {spec.event}s of '{spec.name}'; "
            "leave it out, or write 'mlp'"
        )
    return config.network


def _num_blocks(config: CoderConfig) -> int:
    return config.num_blocks if config.network == "resnet" else 0
