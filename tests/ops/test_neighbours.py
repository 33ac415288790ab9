"""Neighbours and counts are those of all exact distances, whatever the blocks, the precision and the data's place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genpipe import ops
from genpipe.ops import _pairs, reference
from tests.ops.cases import DTYPES, randn

PRECISIONS = [torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_pairs, "PRODUCTS", (7, 70))


def multiply_in(monkeypatch, precision: torch.dtype) -> None:
    """Makes products be of this precision, and of no other."""
    chosen = _pairs.frame

    def frame(references: Tensor, extent: float, near: float) -> _pairs.Frame:
        other = chosen(references, extent, near)
        slack = _pairs.slack_of(precision, references.shape[1], references.device)
        return _pairs.Frame(other.centre, other.scale, precision, slack)

    monkeypatch.setattr(_pairs, "frame", frame)


def on_a_grid(num: int, dims: int, seed: int) -> Tensor:
    """Quarters from a small range: every sum of squares is exact, in any order, and ties and copies are many."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-6, 7, (num, dims), generator=generator).to(torch.float64) / 4


def assert_exact(queries: Tensor, references: Tensor, k: int = 3) -> None:
    q, r = queries.double().cpu(), references.double().cpu()
    found, expected = ops.knn_distances(queries, references, k), reference.knn_distances(q, r, k)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.cpu(), b)
    radii = [ops.knn_distances(x, x, k, exclude_self=True)[0][:, -1] for x in (queries, references)]
    assert torch.equal(radii[1].cpu(), reference.knn_distances(r, r, k, exclude_self=True)[0][:, -1])
    counts = ops.ball_counts(queries, references, query_radii=radii[0], reference_radii=radii[1])
    expected = reference.ball_counts(q, r, query_radii=radii[0].cpu(), reference_radii=radii[1].cpu())
    for a, b in zip(counts, expected, strict=True):
        assert torch.equal(a.cpu(), b)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 17, 257])
def test_ties_and_copies_are_those_of_all_distances(monkeypatch, precision, dtype, dims, device):
    multiply_in(monkeypatch, precision)
    queries, references = on_a_grid(40, dims, 0), on_a_grid(150, dims, 1)
    references[3] = references[77] = queries[5]
    assert_exact(queries.to(device, dtype), references.to(device, dtype))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
def test_products_as_wrong_as_their_bound_allows_change_nothing(monkeypatch, precision, device):
    multiply_in(monkeypatch, precision)
    products = _pairs.Frame.products

    def wrong(frame: _pairs.Frame, queries: Tensor, references: Tensor) -> Tensor:
        product = products(frame, queries, references).double()
        norms = [x.double().square().sum(dim=1) for x in (queries, references)]
        error = 0.9 * frame.slack * (norms[0][:, None] + norms[1]) / 2
        signs = torch.tensor([1.0, -1.0, 0.5], device=product.device).repeat(product.numel())[: product.numel()]
        # Beside this the product itself is exact enough in float64 alone.
        exact = product if precision == torch.float64 else queries.double() @ references.double().T
        share = 0.25 if precision == torch.bfloat16 else 0.75  # the points are rounded already
        dtype = torch.float64 if precision == torch.float64 else torch.float32
        return (exact + share * error * signs.view_as(product)).to(dtype)

    monkeypatch.setattr(_pairs.Frame, "products", wrong)
    assert_exact(on_a_grid(40, 33, 2).to(device), on_a_grid(150, 33, 3).to(device))


PLACES = {
    "far from the origin": lambda x: x + 2.0**20,
    "all in one corner but one": lambda x: torch.cat([x[1:], x[:1] + 2.0**40]),
    "in far clusters": lambda x: x + 2.0**20 * (torch.arange(len(x)) % 3)[:, None],
    "small": lambda x: x * 2.0**-300,
    "large": lambda x: x * 2.0**400,
    "all the same": lambda x: x * 0 + 0.25,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", [None, *PRECISIONS], ids=str)
def test_the_data_s_place_and_size_do_not_matter(monkeypatch, place, precision, device):
    if precision is not None:
        multiply_in(monkeypatch, precision)
    move = PLACES[place]
    assert_exact(move(on_a_grid(40, 9, 4)).to(device), move(on_a_grid(150, 9, 5)).to(device))


def test_normal_features_in_many_dimensions_match_all_distances(device):
    queries, references = randn(100, 300, device=device), randn(300, 300, seed=1, device=device) * 0.9
    distances, indices = ops.knn_distances(queries, references, 5)
    expected = reference.knn_distances(queries.double().cpu(), references.double().cpu(), 5)
    torch.testing.assert_close(distances.cpu(), expected[0], rtol=1e-14, atol=0)
    assert torch.equal(indices.cpu(), expected[1])


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_give_the_same_bits(num_shards, device):
    queries, references = randn(130, 40, device=device), randn(170, 40, seed=1, device=device)
    radii = torch.full((130,), 8.0, dtype=torch.float64, device=device)
    other_radii = torch.full((170,), 7.5, dtype=torch.float64, device=device)
    distances, indices = ops.knn_distances(queries, references, 4)
    counts = ops.ball_counts(queries, references, query_radii=radii, reference_radii=other_radii)
    assert counts.query_contained.sum() > 0
    parts = queries.chunk(num_shards)
    found = [ops.knn_distances(part, references, 4) for part in parts]
    assert torch.equal(torch.cat([f[0] for f in found]), distances)
    assert torch.equal(torch.cat([f[1] for f in found]), indices)
    pieces = [
        ops.ball_counts(part, references, query_radii=own, reference_radii=other_radii)
        for part, own in zip(parts, radii.chunk(num_shards), strict=True)
    ]
    assert torch.equal(torch.cat([c.query_contained for c in pieces]), counts.query_contained)
    assert torch.equal(torch.cat([c.query_holds for c in pieces]), counts.query_holds)
    assert torch.equal(sum(c.reference_contained for c in pieces), counts.reference_contained)
    assert torch.equal(sum(c.reference_holds for c in pieces), counts.reference_holds)


def test_beyond_leaves_out_what_is_as_near_and_says_where_too_few_are_left(device):
    points = torch.tensor([[0.0], [0.0], [3.0], [3.0], [7.0]], device=device)
    distances, indices = ops.knn_distances(points, points, 3, beyond=0.0)
    assert distances.tolist()[:3] == [[3, 3, 7], [3, 3, 7], [3, 3, 4]]
    assert indices.tolist()[:3] == [[2, 3, 4], [2, 3, 4], [0, 1, 4]]
    distances, indices = ops.knn_distances(points, points, 3, beyond=3.0)
    assert distances.tolist()[2] == [4, torch.inf, torch.inf]
    assert indices.tolist()[2] == [4, -1, -1]


def test_every_reference_in_order_is_a_sort(device):
    queries, references = on_a_grid(20, 3, 6).to(device), on_a_grid(90, 3, 7).to(device)
    assert_exact(queries, references, k=19)
    distances, indices = ops.knn_distances(queries, references, 90)
    assert torch.equal(indices.sort(dim=1).values.cpu(), torch.arange(90).expand(20, 90))
    assert bool((distances.diff(dim=1) >= 0).all())


def test_a_ball_holds_nothing_on_its_surface_and_an_infinite_one_everything(device):
    references = torch.tensor([[0.0], [2.0]], dtype=torch.float64, device=device)
    queries = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64, device=device)
    radii = torch.tensor([1.0, torch.inf], dtype=torch.float64, device=device)
    counts = ops.ball_counts(queries, references, reference_radii=radii)
    assert counts.query_contained.tolist() == [2, 1, 1]
    assert counts.reference_holds.tolist() == [1, 3]
    assert counts.query_holds.tolist() == [0, 0, 0]
    assert counts.reference_contained.tolist() == [0, 0]
    none = ops.ball_counts(queries, queries, reference_radii=torch.zeros(3, dtype=torch.float64, device=device))
    assert none.query_contained.sum() == 0


def test_no_queries_no_references_and_no_dimensions(device):
    some, none = randn(4, 3, device=device), randn(0, 3, device=device)
    distances, indices = ops.knn_distances(none, some, 2)
    assert distances.shape == indices.shape == (0, 2)
    assert ops.ball_counts(none, some).reference_holds.tolist() == [0, 0, 0, 0]
    assert ops.ball_counts(some, none).query_contained.tolist() == [0, 0, 0, 0]
    distances, indices = ops.knn_distances(some[:, :0], some[:, :0], 2, exclude_self=True)
    assert distances.tolist() == [[0, 0]] * 4
    assert indices.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_neither_autocast_nor_a_lower_matmul_precision_enters(device):
    queries, references = on_a_grid(40, 80, 8).float().to(device), on_a_grid(150, 80, 9).float().to(device)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert_exact(queries, references)
    finally:
        torch.set_float32_matmul_precision(precision)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        assert_exact(queries, references)


def precision_and_others(real: Tensor, fake: Tensor, k: int) -> dict[str, float]:
    real_radii, fake_radii = (ops.knn_distances(x, x, k, exclude_self=True)[0][:, -1] for x in (real, fake))
    counts = ops.ball_counts(fake, real, query_radii=fake_radii, reference_radii=real_radii)
    return {
        "precision": (counts.query_contained > 0).double().mean().item(),
        "recall": (counts.reference_contained > 0).double().mean().item(),
        "density": counts.query_contained.double().mean().item() / k,
        "coverage": (counts.reference_holds > 0).double().mean().item(),
    }


@pytest.mark.parametrize("dims", [2, 64, 500])
def test_the_counts_are_those_of_prdc(dims, device):
    prdc = pytest.importorskip("prdc")
    real, fake = randn(400, dims, dtype=torch.float64), 0.95 * randn(300, dims, dtype=torch.float64, seed=1)
    expected = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    assert precision_and_others(real.to(device), fake.to(device), 5) == pytest.approx(expected, abs=1e-12)


def test_coverage_of_one_distribution_is_its_known_value(device):
    num, k = 2000, 5
    found = precision_and_others(randn(num, 2, device=device), randn(num, 2, seed=1, device=device), k)
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (num - i) / (2 * num - i)
    assert found["coverage"] == pytest.approx(1 - missed, abs=0.015)
    assert found["density"] == pytest.approx(1, abs=0.05)


def test_shapes_strides_and_block_sizes_that_nobody_thought_of(monkeypatch):
    pytest.importorskip("hypothesis")
    from hypothesis import given, settings
    from hypothesis import strategies as st

    @given(
        num=st.tuples(st.integers(4, 30), st.integers(4, 140)),
        dims=st.integers(1, 40),
        k=st.integers(1, 3),
        block=st.tuples(st.integers(1, 40), st.integers(1, 150)),
        dtype=st.sampled_from(DTYPES),
        columns_first=st.booleans(),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=40, deadline=None)
    def holds(num, dims, k, block, dtype, columns_first, seed):
        monkeypatch.setattr(_pairs, "PRODUCTS", block)
        queries, references = (on_a_grid(n, dims, seed + i).to(dtype) for i, n in enumerate(num))
        if columns_first:
            queries, references = queries.T.contiguous().T, references.T.contiguous().T
        assert_exact(queries, references, k)

    holds()
