"""Products of centred points, block by block, and the bounds on distances that they give: see core_ext's pairs.h.

A product in bfloat16 or float32 settles almost every question about a distance at a fraction of the price of float64;
the few pairs that its bounds leave open are computed exactly by the compiled ops. So the precision chosen here is a
matter of speed alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_BYTES = 16 << 20  # of the points on either side
PRODUCTS = (1024, 4096)  # queries × references at most

# Of a bound's width over the squared distance that it is to tell apart: wider ones leave too many pairs open.
TOLERANCE = 0.03


@dataclass(frozen=True)
class Frame:
    """How points are shifted, scaled and rounded before their products are taken.

    centre: (D,) float64; scale: a power of two, so that no coordinate exceeds 1; dtype: what is multiplied. slack:
    |q − |a − b|²| ≤ slack · (|a|² + |b|²) for q = |a|² + |b|² − 2 a·b with the product as computed.
    """

    centre: Tensor
    scale: float
    dtype: torch.dtype
    slack: float

    def points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (n, D) as it is multiplied, and its scaled squared norms (n,) float64."""
        return torch.ops.genpipe.centre_rows(x, self.centre, self.scale, self.dtype)

    def bounds(self, squares: Tensor, radii: Tensor | None = None) -> Tensor:
        """(2, n) lower and upper; with radii (n,) float64 also both for the points' balls, (4, n)."""
        half = squares / 2
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        # Coordinates and products too small for the type are zeros.
        floor = len(self.centre) * torch.finfo(dtype).tiny * 64
        bounds = [half * (1 - self.slack) - floor, half * (1 + self.slack) + floor]
        if radii is not None:
            # A ball of no radius contains nothing, not even its centre.
            reach = torch.where(radii > 0, (radii * self.scale).square() / 2, -torch.inf)
            bounds += [bounds[0] - reach, bounds[1] - reach]
        return torch.stack(bounds).to(dtype)

    def products(self, queries: Tensor, references: Tensor) -> Tensor:
        """(Q, R), of points as `points` gives them."""
        if self.dtype == torch.bfloat16 and queries.is_cuda:
            return torch.mm(queries, references.T, out_dtype=torch.float32)
        return torch.mm(queries, references.T)


def slack_of(dtype: torch.dtype, dims: int, device: torch.device) -> float:
    """Twice the error of a product relative to |a| |b|, by any order of summation (Higham, 2002, eq. 3.5)."""
    unit = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
    accumulator = torch.float64 if dtype == torch.float64 else torch.float32
    rounded = dtype
    if dtype == torch.float32 and not _float32_is_kept(device):
        rounded = torch.bfloat16
    inputs, output = 2 * unit[rounded], unit[dtype]
    # Tensor cores truncate sums. The rest covers the bounds' own rounding and that of the distances in float64.
    sums = (2 * dims + 32) * (unit[accumulator] + unit[torch.float64])
    return 1.01 * (inputs + output + sums)


def _float32_is_kept(device: torch.device) -> bool:
    """Whether matrix products of float32 are in float32, not in TF32 or bfloat16."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    return backend.matmul.fp32_precision in ("none", "ieee")


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are faster than those of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported()


def frame(references: Tensor, extent: float, near: float) -> Frame:
    """The frame in which distances to references are taken.

    extent: no coordinate of any point is farther than this from one of another; near: a typical distance among those
    that have to be told apart, 0 where it is unknown.
    """
    device, dims = references.device, references.shape[1]
    some = evenly(references, 1024).to(torch.float64)
    centre = some.mean(dim=0)
    scale = 2.0 ** -math.ceil(math.log2(extent)) if extent > 0 else 1.0
    typical = 2 * (some - centre).square().sum(dim=1).mean().item()
    dtypes = [torch.float32, torch.float64]
    if _multiplies_bfloat16(device):
        dtypes.insert(0, torch.bfloat16)
    for dtype in dtypes:
        slack = slack_of(dtype, dims, device)
        if slack * typical <= TOLERANCE * near**2:
            break
    return Frame(centre, scale, dtype, slack)


def evenly(x: Tensor, num: int) -> Tensor:
    """About num rows of x, at most, evenly spread."""
    return x[:: max(1, -(-len(x) // num))]


def nearest_of_some(queries: Tensor, references: Tensor) -> float:
    """The median distance of a few queries to the nearest of a thousand references that is not a copy of theirs."""
    few, some = evenly(queries, 16).to(torch.float64), evenly(references, 1024).to(torch.float64)
    distances = torch.cdist(few, some, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = torch.where(distances > 0, distances, torch.inf).amin(dim=1)
    median = nearest.median().item()
    return median if math.isfinite(median) else 0.0


def blocks(num: int, dims: int, dtype: torch.dtype, most: int) -> Iterator[slice]:
    """Ranges of points: of BLOCK_BYTES at most once rounded to dtype, and of `most` points."""
    size = min(most, max(64, BLOCK_BYTES // max(1, dims * dtype.itemsize)))
    for start in range(0, num, size):
        yield slice(start, min(num, start + size))
