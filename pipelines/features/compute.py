"""Features and logits of examples, checked to be what the contract says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from genpipe.errors import PluginError
from genpipe.evaluation import FeatureExtractor
from genpipe.parallel import Range

What = Literal["features", "logits"]
"""What an extractor gives of an example."""


def features_of(extractor: FeatureExtractor, name: str, x: Tensor) -> Tensor:
    """(B, D) float64 of x (B, *event)."""
    with torch.no_grad():
        features = extractor(x)
    if features.ndim != 2 or len(features) != len(x) or features.dtype != torch.float64:
        raise PluginError(
            f"feature extractor '{name}' gave {features.dtype} of shape {tuple(features.shape)}, "
            f"expected float64 of shape ({len(x)}, D)"
        )
    return _finite(features, name, "features")


def logits_of(extractor: FeatureExtractor, name: str, x: Tensor) -> Tensor:
    """(B, K) float64 of x (B, *event)."""
    with torch.no_grad():
        logits = extractor.logits(x)
    if logits.ndim != 2 or len(logits) != len(x) or not logits.is_floating_point():
        raise PluginError(
            f"feature extractor '{name}' gave logits {logits.dtype} of shape {tuple(logits.shape)}, "
            f"expected numbers of shape ({len(x)}, K)"
        )
    return _finite(logits.to(torch.float64), name, "logits")


OF = {"features": features_of, "logits": logits_of}


def in_batches(
    what: What,
    extractor: FeatureExtractor,
    name: str,
    examples: Callable[[Range], Tensor],
    at: Range,
    batch_size: int,
) -> Tensor:
    """Of a range of examples, (len(at), …)."""
    return torch.cat([OF[what](extractor, name, examples(batch)) for batch in at.cut(batch_size)])


def _finite(values: Tensor, name: str, what: str) -> Tensor:
    bad = ~values.isfinite().all(dim=1)
    if bool(bad.any()):
        raise PluginError(
            f"feature extractor '{name}' gave {what} that are not finite for {int(bad.sum())} of {len(bad)} examples"
        )
    return values
