"""Options of the normalizing flow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genpipe.config import Config


class FlowConfig(Config):
    """Options of the family `flow`."""

    structure: Literal["auto", "autoregressive", "coupling", "multiscale", "glow"] = Field(
        "auto",
        description="what a layer sees: all dimensions before (MAF), one half (RealNVP), or one half of an image by "
        "convolutions at several scales, whose channels 1×1 convolutions mix in glow; auto: coupling for vectors, "
        "multiscale for images",
    )
    transform: Literal["spline", "affine"] = Field("spline", description="what is done to each dimension")
    num_layers: int = Field(6, ge=1, description="layers; at each scale where there are several")
    num_scales: int | None = Field(
        None, ge=1, le=8, description="resolutions of multiscale or glow; null takes as many as halve evenly, at most 3"
    )
    hidden: int = Field(128, ge=1, description="width of the layers' networks (coupling, autoregressive)")
    channels: int = Field(
        32, ge=1, description="channels of the layers' networks (multiscale, glow, variational dequantisation)"
    )
    num_blocks: int = Field(2, ge=0, description="residual blocks of each layer's network")
    num_bins: int = Field(8, ge=2, le=64, description="bins of a spline")
    bound: float = Field(5.0, gt=0, description="splines bend within [-bound, bound] (unbounded data, network units)")
    dequantisation: Literal["uniform", "variational"] = Field(
        "uniform",
        description="where in its bin a whole number of an image is put: anywhere alike, or where a flow learns to put it",
    )
    conditional: bool = Field(False, description="model each class by its label")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in the layers' networks")
