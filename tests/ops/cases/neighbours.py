"""Nearest neighbours and balls."""

from __future__ import annotations

import torch

from genpipe import ops
from genpipe.ops import _pairs
from tests.ops.cases import Case, Draw, randn

# The registered ops take products of any precision beside points of any.
PRODUCTS = {torch.float32: torch.bfloat16, torch.float64: torch.float32, torch.bfloat16: torch.float64}


def points(draw: Draw):
    """Queries, a few more references, and a copy between them."""
    queries, references = draw.normal(draw.rows, draw.columns), draw.normal(draw.rows + 70, draw.columns)
    references[5] = queries[-1]
    return queries, references


def pairs(draw: Draw, *, balls: bool):
    queries, references = points(draw)
    dtype, centre = PRODUCTS[draw.dtype], torch.zeros(draw.columns, dtype=torch.float64, device=draw.device)
    slack = _pairs.slack_of(dtype, draw.columns, queries.device)
    frame = _pairs.Frame(centre, 0.125, dtype, slack)
    sides = []
    radii = [torch.full((len(x),), draw.columns**0.5, dtype=torch.float64, device=draw.device) for x in points(draw)]
    for x, own_radii in zip((queries, references), radii, strict=True):
        rounded, squares = frame.points(x)
        sides.append((rounded, frame.bounds(squares, own_radii if balls else None)))
    (a, query_bounds), (b, reference_bounds) = sides
    return (queries, references, frame.products(a, b), query_bounds, reference_bounds), radii


def update(draw: Draw, first_query: int, beyond: float):
    shared, _ = pairs(draw, balls=False)
    squares = torch.full((draw.rows, 2), torch.inf, dtype=torch.float64, device=draw.device)
    indices = torch.full((draw.rows, 2), -1, device=draw.device)
    return *shared, 0.125, first_query, 0, beyond, squares, indices


def count(draw: Draw):
    shared, radii = pairs(draw, balls=True)
    counts = [torch.zeros(len(x), 2, dtype=torch.int64, device=draw.device) for x in shared[:2]]
    return *shared, *radii, *counts


def with_radii(draw: Draw):
    queries, references = points(draw)
    radii = [torch.full((len(x),), draw.columns**0.5, dtype=torch.float64).to(draw.device) for x in points(draw)]
    return queries, references, *radii


def themselves(draw: Draw):
    references = points(draw)[1]
    return references, references.clone(), 3, True, -1.0


CASES = [
    Case("knn_update_", lambda draw: update(draw, -1, -1.0)),
    Case("knn_update_", lambda draw: update(draw, 0, 0.0), "without self and copies"),
    Case("ball_count_", count),
    Case("knn_distances", lambda draw: (*points(draw), 4, False, -1.0)),
    Case("knn_distances", themselves, "without self"),
    Case("ball_counts", with_radii),
    Case("ball_counts", lambda draw: (*with_radii(draw)[:3], None), "one side's balls"),
]

Q, R = randn(3, 4), randn(5, 4, seed=1)
RADII = torch.ones(3, dtype=torch.float64)
NAN = R.clone()
NAN[2, 1] = torch.nan
HUGE = R.double()
HUGE[4, 0] = -1e200


def raw(**changes):
    """knn_update_ with some of its arguments replaced."""
    arguments = {
        "queries": Q,
        "references": R,
        "products": torch.zeros(3, 5),
        "query_bounds": torch.zeros(2, 3),
        "reference_bounds": torch.zeros(2, 5),
        "scale": 1.0,
        "first_query": -1,
        "first_reference": 0,
        "beyond": -1.0,
        "squares": torch.zeros(3, 1, dtype=torch.float64),
        "indices": torch.zeros(3, 1, dtype=torch.int64),
    }
    return lambda: torch.ops.genpipe.knn_update_(**{**arguments, **changes})


def raw_balls(**changes):
    arguments = {
        "queries": Q,
        "references": R,
        "products": torch.zeros(3, 5),
        "query_bounds": torch.zeros(4, 3),
        "reference_bounds": torch.zeros(4, 5),
        "query_radii": RADII,
        "reference_radii": torch.ones(5, dtype=torch.float64),
        "query_counts": torch.zeros(3, 2, dtype=torch.int64),
        "reference_counts": torch.zeros(5, 2, dtype=torch.int64),
    }
    return lambda: torch.ops.genpipe.ball_count_(**{**arguments, **changes})


MISTAKES = {
    "knn_distances: queries must have shape (N, D), got (4,)": lambda: ops.knn_distances(Q[0], R, 1),
    "knn_distances: references must have shape (N, D), got (5, 4, 1)": lambda: ops.knn_distances(Q, R[..., None], 1),
    "knn_distances: queries must be float32, float64 or bfloat16, got float16": lambda: ops.knn_distances(
        Q.half(), R.half(), 1
    ),
    "knn_distances: references must have the dtype of queries (float32), got float64": lambda: ops.knn_distances(
        Q, R.double(), 1
    ),
    "knn_distances: references must have the queries' D = 4, got (5, 3)": lambda: ops.knn_distances(Q, R[:, 1:], 1),
    "knn_distances: references[2] must be finite, and within ±1e150 for its squares to be, got nan": lambda: (
        ops.knn_distances(Q, NAN, 1)
    ),
    "knn_distances: queries[2] must be finite": lambda: ops.knn_distances(NAN, R, 1),
    "knn_distances: references[4] must be finite, and within ±1e150 for its squares to be, got -1e+200": lambda: (
        ops.knn_distances(Q.double(), HUGE, 1)
    ),
    "knn_distances: k must be from 1 to the number of references, 5, got 6": lambda: ops.knn_distances(Q, R, 6),
    "knn_distances: k must be from 1 to the number of references, 5, got 0": lambda: ops.knn_distances(Q, R, 0),
    "knn_distances: k must be from 1 to the number of references but itself, 4, got 5": lambda: ops.knn_distances(
        R, R, 5, exclude_self=True
    ),
    "knn_distances: exclude_self needs the references as queries, got (3, 4) and (5, 4)": lambda: ops.knn_distances(
        Q, R, 1, exclude_self=True
    ),
    "ball_counts: queries[2] must be finite": lambda: ops.ball_counts(NAN, R),
    "ball_counts: query_radii must be float64, got float32": lambda: ops.ball_counts(Q, R, query_radii=RADII.float()),
    "ball_counts: reference_radii must have shape (5,), one for each of references, got (3,)": lambda: ops.ball_counts(
        Q, R, reference_radii=RADII
    ),
    "ball_counts: query_radii[1] must not be negative, got -1.0": lambda: ops.ball_counts(
        Q, R, query_radii=torch.tensor([0, -1, -2], dtype=torch.float64)
    ),
    "ball_counts: query_radii[2] must not be negative, got nan": lambda: ops.ball_counts(
        Q, R, query_radii=torch.tensor([0, 1, torch.nan], dtype=torch.float64)
    ),
    "knn_update_: queries must have shape (Q, D), got (4,)": raw(queries=Q[0]),
    "knn_update_: references must have the dtype of queries (float32), got float64": raw(references=R.double()),
    "knn_update_: references must have shape (R, D) with the queries' D = 4, got (5, 3)": raw(references=R[:, 1:]),
    "knn_update_: products must have shape (3, 5), got (3, 4)": raw(products=torch.zeros(3, 4)),
    "knn_update_: query_bounds must be float32, got float64": raw(query_bounds=torch.zeros(2, 3).double()),
    "knn_update_: reference_bounds must have shape (2, 5), got (4, 5)": raw(reference_bounds=torch.zeros(4, 5)),
    "knn_update_: squares must have shape (Q, k) with k at least 1, got (3, 0)": raw(squares=torch.zeros(3, 0)),
    "knn_update_: squares must be float64, got float32": raw(squares=torch.zeros(3, 1)),
    "knn_update_: indices must have shape (3, 1), got (3, 2)": raw(indices=torch.zeros(3, 2, dtype=torch.int64)),
    "knn_update_: indices must be contiguous": raw(indices=torch.zeros(3, 2, dtype=torch.int64)[:, :1]),
    "ball_count_: query_bounds must have shape (4, 3), got (2, 3)": raw_balls(query_bounds=torch.zeros(2, 3)),
    "ball_count_: query_radii must be float64, got float32": raw_balls(query_radii=RADII.float()),
    "ball_count_: reference_radii must have shape (5,), got (3,)": raw_balls(reference_radii=RADII),
    "ball_count_: reference_counts must be int64, got float32": raw_balls(reference_counts=torch.zeros(5, 2)),
}
