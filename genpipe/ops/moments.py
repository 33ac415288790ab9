"""Count, mean and centred second moment of features: what the Fréchet distance is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401

BLOCK_BYTES = 16 << 20  # of centred rows in float64
PANEL = 512  # columns: of a symmetric product only panels on and above the diagonal are computed


class Moments(NamedTuple):
    """num: () int64; mean: (D,) float64; m2: (D, D) float64, Σ (x − mean)(x − mean)ᵀ. All may be batched in front."""

    num: Tensor
    mean: Tensor
    m2: Tensor


def moments(features: Tensor) -> Moments:
    """The moments of features (N, D): float32, float64 or bfloat16, on the CPU or CUDA.

    In float64 throughout, by two passes: the mean, counted from the first row, and the product of centred rows, in
    blocks. So data far from the origin keep their digits, and one call agrees with merge_moments over any shards to
    rounding. No rows give zeros. Not differentiable. RuntimeError names what is wrong.
    """
    mean, m2 = torch.ops.genpipe.moments(features)
    return Moments(torch.tensor(len(features)), mean, m2)


def merge_moments(first: Moments, second: Moments) -> Moments:
    """The moments of both sets together (Chan, Golub & LeVeque, 1983, eq. 2.1); leading dimensions are batched."""
    num = first.num + second.num
    share = second.num.to(torch.float64) / num.clamp(min=1)
    delta = second.mean - first.mean
    weight = (first.num * share).to(delta.device)[..., None]
    share = share.to(delta.device)[..., None]
    # One D×D array for the answer and none on the way: at D = 784 and 20 blocks each would be 100 MB.
    m2 = first.m2 + second.m2
    dims = delta.shape[-1]
    m2.view(-1, dims, dims).baddbmm_((weight * delta).reshape(-1, dims, 1), delta.reshape(-1, 1, dims))
    return Moments(num, first.mean + delta * share, m2)


@torch.library.custom_op("genpipe::moments", mutates_args=())
def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    if features.dim() != 2:
        raise RuntimeError(f"genpipe.moments: features must have shape (N, D), got {tuple(features.shape)}")
    if features.dtype not in (torch.float32, torch.float64, torch.bfloat16):
        dtype = str(features.dtype).removeprefix("torch.")
        raise RuntimeError(f"genpipe.moments: features must be float32, float64 or bfloat16, got {dtype}")
    num, dims = features.shape
    m2 = torch.zeros(dims, dims, dtype=torch.float64, device=features.device)
    if num == 0:
        return torch.zeros_like(m2[:0].sum(dim=0)), m2
    features = features.contiguous()
    mean = torch.ops.genpipe.column_mean(features)
    rows = max(256, BLOCK_BYTES // (8 * max(1, dims)))
    panels = [slice(start, min(dims, start + PANEL)) for start in range(0, dims, PANEL)]
    with torch.autocast(features.device.type, enabled=False):
        for start in range(0, num, rows):
            centred, _ = torch.ops.genpipe.centre_rows(features[start : start + rows], mean, 1.0, torch.float64)
            for panel in panels:
                m2[panel, panel.start :].addmm_(centred[:, panel].T, centred[:, panel.start :])
    for panel in panels:
        m2[panel.stop :, panel] = m2[panel, panel.stop :].T
        m2[panel, panel] = m2[panel, panel].triu() + m2[panel, panel].triu(1).T
    return mean, m2


@torch.library.register_fake("genpipe::moments")
def _(features):
    dims = features.shape[1]
    return features.new_empty((dims,), dtype=torch.float64), features.new_empty((dims, dims), dtype=torch.float64)


@torch.library.register_fake("genpipe::column_mean")
def _(x):
    return x.new_empty((x.shape[1],), dtype=torch.float64)


@torch.library.register_fake("genpipe::centre_rows")
def _(x, centre, scale, dtype):
    return x.new_empty(x.shape, dtype=dtype), x.new_empty((x.shape[0],), dtype=torch.float64)
