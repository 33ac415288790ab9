"""From a data set's units to what somebody's network takes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.feature_input import check_range
from genpipe.plugins.own_network.config import OwnNetworkConfig
from genpipe.units import Units

OF_IMAGES = ("channels", "size", "range", "mean", "std")


class NetworkInput:
    """x (B, *event), data units → the batch that the config describes. name: of the features, for messages."""

    def __init__(self, spec: DataSpec, config: OwnNetworkConfig, name: str) -> None:
        self._spec, self._config, self._units = spec, config, Units(spec)
        if spec.event != "image":
            given = [option for option in OF_IMAGES if getattr(config, option) is not None]
            given += ["dtype"] if config.dtype != "float32" else []
            if given:
                raise UsageError(
                    f"features '{name}': {', '.join(given)} {'is' if len(given) == 1 else 'are'} for images, and data "
                    f"set '{spec.name}' has {spec.event}s"
                )
            return
        channels = spec.shape[0]
        self._channels = config.channels or channels
        if self._channels != channels and channels != 1:
            raise UsageError(
                f"features '{name}': channels is {self._channels}, and data set '{spec.name}' has images of {channels}; "
                "only grey ones can be repeated"
            )
        for option in ("mean", "std"):
            values = getattr(config, option)
            if values is not None and len(values) != self._channels:
                raise UsageError(
                    f"features '{name}': {option} has {len(values)} numbers, expected one for each of "
                    f"{self._channels} channels"
                )

    def __call__(self, x: Tensor) -> Tensor:
        """DataError where x has another shape, is not finite or leaves the data set's range."""
        spec, config = self._spec, self._config
        check_range(self._units.check(x), spec)
        if spec.event != "image":
            return x.to(torch.int64 if spec.levels is not None else torch.float32)
        low, high = (0.0, spec.levels - 1.0) if spec.levels is not None else (spec.low, spec.high)
        assert low is not None, "an image has levels or a range"
        assert high is not None
        black, white = (0.0, 255.0) if config.dtype == "uint8" else config.range or (0.0, 1.0)
        z = (x.to(torch.float32) - low) * ((white - black) / (high - low)) + black
        z = z.expand(-1, self._channels, -1, -1)
        if config.size is not None and config.size != tuple(z.shape[2:]):
            z = F.interpolate(z, config.size, mode=config.resize, antialias=True, align_corners=False)
            z = z.clamp(black, white)
        if config.dtype == "uint8":
            return z.round().to(torch.uint8)
        for values, apply in ((config.mean, torch.sub), (config.std, torch.div)):
            if values is not None:
                z = apply(z, torch.tensor(values, device=z.device).reshape(-1, 1, 1))
        return z.contiguous()
