"""Nearest neighbours and counts of points in balls, in blocks: no matrix of all distances, and no rounded answer.

Distances are Euclidean, computed in float64 from the points as they are given. Which neighbour is nearer and whether a
point lies in a ball is decided by these numbers, so the answers depend neither on how points are cut into calls nor on
threads or the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from genpipe.ops import _extension, _pairs  # noqa: F401
from genpipe.ops._pairs import Frame

LARGEST = 1e150


def knn_distances(
    queries: Tensor, references: Tensor, k: int, *, exclude_self: bool = False, beyond: float | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest references of each query: distances (Q, k) float64, ascending, and indices (Q, k) int64.

    queries: (Q, D); references: (R, D), of the same dtype: float32, float64 or bfloat16. Equal distances stand in the
    order of their indices. exclude_self: queries are the references, and none is its own neighbour (its copies are).
    beyond: only references farther than this count; a query with fewer than k of them has infinite distances and the
    index −1 in their place. Not differentiable. RuntimeError names what is wrong, such as k above the number of
    references, or a value that is not finite.
    """
    return torch.ops.genpipe.knn_distances(queries, references, k, exclude_self, -1.0 if beyond is None else beyond)


class BallCounts(NamedTuple):
    """How many queries and references lie in each other's balls, int64.

    query_contained: (Q,) balls of references that contain the query; query_holds: (Q,) references in the query's own
    ball; reference_contained, reference_holds: (R,) the same from the other side.
    """

    query_contained: Tensor
    query_holds: Tensor
    reference_contained: Tensor
    reference_holds: Tensor


def ball_counts(
    queries: Tensor, references: Tensor, *, query_radii: Tensor | None = None, reference_radii: Tensor | None = None
) -> BallCounts:
    """Counts the queries in balls around references, and the references in balls around queries, in one pass.

    queries: (Q, D); references: (R, D), of the same dtype: float32, float64 or bfloat16. query_radii: (Q,) and
    reference_radii: (R,), float64, such as the k-th column of knn_distances; without them a side has no balls. A point
    lies in a ball if its distance is strictly less than the radius.

    With real features as references, generated ones as queries and radii to the k-th neighbour: precision is the mean
    of query_contained > 0 and recall of reference_contained > 0 (Kynkäänniemi et al., 2019, eq. 2); density is the mean
    of query_contained / k and coverage of reference_holds > 0 (Naeem et al., 2020, eqs. 3 and 4).
    """
    counts = torch.ops.genpipe.ball_counts(queries, references, query_radii, reference_radii)
    return BallCounts(*counts)


def _fail(op: str, text: str) -> NoReturn:
    raise RuntimeError(f"genpipe.{op}: {text}")


def _shape(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))}{',' * (x.dim() == 1)})"


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _check_points(op: str, queries: Tensor, references: Tensor) -> float:
    """Gives the extent of all coordinates."""
    low, high = math.inf, -math.inf
    for name, x in (("queries", queries), ("references", references)):
        if x.dim() != 2:
            _fail(op, f"{name} must have shape (N, D), got {_shape(x)}")
        if x.dtype not in (torch.float32, torch.float64, torch.bfloat16):
            _fail(op, f"{name} must be float32, float64 or bfloat16, got {_dtype(x)}")
        if x.numel() == 0:
            continue
        ends = [end.item() for end in torch.aminmax(x)]
        if not (ends[0] >= -LARGEST and ends[1] <= LARGEST):
            _name_row(op, name, x)
        low, high = min(low, ends[0]), max(high, ends[1])
    if references.dtype != queries.dtype:
        _fail(op, f"references must have the dtype of queries ({_dtype(queries)}), got {_dtype(references)}")
    if references.device != queries.device:
        _fail(op, f"references must be on the device of queries ({queries.device}), got {references.device}")
    if references.shape[1] != queries.shape[1]:
        _fail(op, f"references must have the queries' D = {queries.shape[1]}, got {_shape(references)}")
    return max(high - low, 0.0)


def _name_row(op: str, name: str, x: Tensor) -> NoReturn:
    for i, row in enumerate(x):
        wrong = row[~(row.abs() <= LARGEST)]
        if len(wrong):
            _fail(op, f"{name}[{i}] must be finite, and within ±1e150 for its squares to be, got {wrong[0].item()}")
    raise AssertionError("aminmax saw a value that no row holds")


@torch.library.custom_op("genpipe::knn_distances", mutates_args=())
def _knn_distances(
    queries: Tensor, references: Tensor, k: int, exclude_self: bool, beyond: float
) -> tuple[Tensor, Tensor]:
    op = "knn_distances"
    extent = _check_points(op, queries, references)
    if exclude_self and queries.shape != references.shape:
        _fail(op, f"exclude_self needs the references as queries, got {_shape(queries)} and {_shape(references)}")
    candidates = len(references) - exclude_self
    if not 1 <= k <= candidates:
        _fail(op, f"k must be from 1 to the number of references{' but itself' * exclude_self}, {candidates}, got {k}")
    squares = queries.new_full((len(queries), k), torch.inf, dtype=torch.float64)
    indices = queries.new_full((len(queries), k), -1, dtype=torch.int64)
    if len(queries) == 0:
        return squares, indices
    queries, references = queries.contiguous(), references.contiguous()
    near = _pairs.nearest_of_some(queries, references)
    with torch.autocast(queries.device.type, enabled=False):
        frame = _pairs.frame(references, extent, near)
        for columns, held, bounds in _points(frame, references, _pairs.PRODUCTS[1]):
            for rows, own, own_bounds in _points(frame, queries, _pairs.PRODUCTS[0]):
                torch.ops.genpipe.knn_update_(
                    queries[rows],
                    references[columns],
                    frame.products(own, held),
                    own_bounds,
                    bounds,
                    frame.scale,
                    rows.start if exclude_self else -1,
                    columns.start,
                    beyond,
                    squares[rows],
                    indices[rows],
                )
    return squares.sqrt_(), indices


def _points(frame: Frame, x: Tensor, most: int, radii: Tensor | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of x: their range, their points as they are multiplied, and their bounds."""
    for block in _pairs.blocks(len(x), x.shape[1], frame.dtype, most):
        points, squares = frame.points(x[block])
        yield block, points, frame.bounds(squares, None if radii is None else radii[block])


@torch.library.register_fake("genpipe::knn_distances")
def _(queries, references, k, exclude_self, beyond):
    distances = queries.new_empty((queries.shape[0], k), dtype=torch.float64)
    return distances, distances.new_empty((queries.shape[0], k), dtype=torch.int64)


@torch.library.custom_op("genpipe::ball_counts", mutates_args=())
def _ball_counts(
    queries: Tensor, references: Tensor, query_radii: Tensor | None, reference_radii: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    op = "ball_counts"
    extent = _check_points(op, queries, references)
    query_radii = _radii(op, "query_radii", query_radii, "queries", queries)
    reference_radii = _radii(op, "reference_radii", reference_radii, "references", references)
    query_counts = torch.zeros(len(queries), 2, dtype=torch.int64, device=queries.device)
    reference_counts = torch.zeros(len(references), 2, dtype=torch.int64, device=queries.device)
    if len(queries) and len(references):
        queries, references = queries.contiguous(), references.contiguous()
        near = min(_typical(query_radii), _typical(reference_radii))
        with torch.autocast(queries.device.type, enabled=False):
            frame = _pairs.frame(references, extent, near)
            for columns, held, bounds in _points(frame, references, _pairs.PRODUCTS[1], reference_radii):
                for rows, own, own_bounds in _points(frame, queries, _pairs.PRODUCTS[0], query_radii):
                    torch.ops.genpipe.ball_count_(
                        queries[rows],
                        references[columns],
                        frame.products(own, held),
                        own_bounds,
                        bounds,
                        query_radii[rows],
                        reference_radii[columns],
                        query_counts[rows],
                        reference_counts[columns],
                    )
    of_query, of_reference = query_counts.T.contiguous(), reference_counts.T.contiguous()
    return of_query[0].clone(), of_query[1].clone(), of_reference[0].clone(), of_reference[1].clone()


def _radii(op: str, name: str, radii: Tensor | None, of: str, points: Tensor) -> Tensor:
    if radii is None:
        return torch.zeros(len(points), dtype=torch.float64, device=points.device)
    if radii.dtype != torch.float64:
        _fail(op, f"{name} must be float64, got {_dtype(radii)}")
    if radii.shape != (len(points),):
        _fail(op, f"{name} must have shape ({len(points)},), one for each of {of}, got {_shape(radii)}")
    if radii.device != points.device:
        _fail(op, f"{name} must be on the device of {of} ({points.device}), got {radii.device}")
    wrong = ~(radii >= 0)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        _fail(op, f"{name}[{first}] must not be negative, got {radii[first].item()}")
    return radii.contiguous()


def _typical(radii: Tensor) -> float:
    """The median of those that are balls, infinite where none is."""
    balls = radii[(radii > 0) & radii.isfinite()]
    return balls.median().item() if len(balls) else torch.inf


@torch.library.register_fake("genpipe::ball_counts")
def _(queries, references, query_radii, reference_radii):
    of_query = queries.new_empty((queries.shape[0],), dtype=torch.int64)
    of_reference = references.new_empty((references.shape[0],), dtype=torch.int64)
    return of_query, torch.empty_like(of_query), of_reference, torch.empty_like(of_reference)


for _op in ("knn_update_", "ball_count_"):
    torch.library.register_fake(f"genpipe::{_op}")(lambda *arguments: None)
