import pytest
import torch

from genpipe.neighbours import distance_ratios, nearest
from genpipe.ops import _pairs


def normals(num, dims=5, seed=0):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_pairs, "PRODUCTS", (7, 11))


@pytest.mark.usefixtures("small_blocks")
def test_blocks_give_what_all_distances_give():
    queries, points = normals(50), normals(100, seed=1)
    expected = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    index, distance = nearest(queries, points)
    assert index.tolist() == expected.indices.tolist()
    torch.testing.assert_close(distance, expected.values)


@pytest.mark.usefixtures("small_blocks")
def test_a_copy_is_at_distance_zero_far_from_the_origin():
    points = normals(100) + 1e6
    index, distance = nearest(points, points)
    assert index.tolist() == list(range(100))
    assert (distance == 0).all()


@pytest.mark.usefixtures("small_blocks")
def test_equal_distances_go_to_the_lower_index():
    points = torch.tensor([[1.0], [-1.0]] * 20)
    index, _ = nearest(torch.zeros(9, 1), points)
    assert (index == 0).all()


@pytest.mark.usefixtures("small_blocks")
def test_distinct_ignores_doubles():
    points = torch.tensor([[0.0], [0.0], [3.0], [3.0], [7.0]])
    _, distance = nearest(points, points, distinct=True)
    assert distance.tolist() == [3, 3, 3, 3, 4]


def test_where_nothing_differs_the_distance_is_infinite():
    _, distance = nearest(torch.zeros(2, 3), torch.zeros(4, 3), distinct=True)
    assert distance.isinf().all()


def test_ratios_are_zero_for_copies_and_near_one_for_new_draws():
    points = normals(500)
    assert (distance_ratios(points[:20], points).ratio == 0).all()
    assert distance_ratios(normals(300, seed=2), points).ratio.median().item() == pytest.approx(1, abs=0.25)


def test_no_queries_give_no_answers():
    index, distance = nearest(torch.empty(0, 5), normals(3))
    assert index.shape == distance.shape == (0,)
