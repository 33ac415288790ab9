import math

import pytest
import torch

from genpipe.errors import GenpipeError
from genpipe.plugins.vendi.config import VendiConfig
from genpipe.plugins.vendi.metric import Vendi
from genpipe.plugins.vendi.score import spectrum, vendi, vendi_infinity
from tests.metrics import normals, ready, reference_of, score

NAME = "Vendi"


def made(**options):
    return ready(Vendi(VendiConfig(**options)), reference_of(normals(10)))


def test_of_so_many_orthogonal_kinds_is_their_number_and_of_one_is_one():
    kinds = torch.eye(7, dtype=torch.float64)
    for each in (1, 5):
        found = spectrum(kinds.repeat(each, 1) * 3.0)
        assert vendi(found)[0] == pytest.approx(7)
        assert vendi_infinity(found)[0] == pytest.approx(7)
    assert vendi(spectrum(kinds[:1].repeat(20, 1)))[0] == pytest.approx(1)


def test_of_uneven_kinds_is_the_exponential_of_their_entropy():
    x = torch.eye(3, dtype=torch.float64).repeat_interleave(torch.tensor([6, 3, 1]), dim=0)
    shares = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    assert vendi(spectrum(x))[0] == pytest.approx(torch.exp(torch.special.entr(shares).sum()).item())
    assert vendi_infinity(spectrum(x))[0] == pytest.approx(1 / 0.6)


@pytest.mark.parametrize(("num", "dims"), [(40, 6), (6, 40)])
def test_either_gram_matrix_gives_the_same(num, dims):
    x = normals(num, dims)
    unit = x / x.norm(dim=1, keepdim=True)
    shares = torch.linalg.eigvalsh(unit @ unit.T / num).clamp(min=0)
    found = spectrum(x)
    assert vendi(found)[0] == pytest.approx(torch.exp(torch.special.entr(shares).sum()).item(), rel=1e-10)
    torch.testing.assert_close(found.parts.mean(dim=0), found.shares, rtol=1e-9, atol=1e-12)
    assert found.parts.sum(dim=1).mean().item() == pytest.approx(1)


def test_standard_errors_are_the_spread_between_draws():
    scale = torch.tensor([4.0, 2, 1, 1], dtype=torch.float64)
    draws = [spectrum(normals(200, 4, seed) * scale + scale) for seed in range(100)]
    for score_of in (vendi, vendi_infinity):
        values = torch.tensor([score_of(draw)[0] for draw in draws], dtype=torch.float64)
        errors = sum(score_of(draw)[1] for draw in draws) / len(draws)
        assert errors == pytest.approx(values.std().item(), rel=0.2)


def test_a_collapsed_row_scores_one_also_where_nothing_is_left_of_it():
    for row in (torch.zeros(30, 4), torch.ones(30, 4)):
        cell = score(made(), row.to(torch.float64))[NAME]
        assert cell.value == pytest.approx(1)
        assert cell.standard_error == pytest.approx(0, abs=1e-9)


def test_dropped_kinds_and_duplicates_lower_it():
    kinds = 10 * torch.eye(10, dtype=torch.float64)
    rows = kinds.repeat(50, 1) + 0.1 * normals(500, 10)
    whole = score(made(), rows)[NAME]
    half = score(made(), rows[torch.arange(500) % 10 < 5])[NAME]
    assert half.value < 0.6 * whole.value
    rows[:250] = rows[0]
    found = score(made(order_infinity=True), rows)
    assert found[NAME].value < whole.value - 10 * whole.standard_error
    assert found["Vendi ∞"].value < 2


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing_at_all(num_shards):
    samples = normals(260, 5, 1)
    assert score(made(max_examples=200), samples) == score(made(max_examples=200), samples, num_shards)


def test_features_too_few_to_show_more_are_said():
    assert "of 2 at most, for 2 dimensions" in score(made(), normals(100, 2))[NAME].notes[0]
    assert "of 5 at most, for 5 examples" in score(made(), normals(5, 50))[NAME].notes[0]
    with pytest.raises(GenpipeError, match="at least 2 examples, got 1 of the row"):
        score(made(), normals(1, 50))
    assert math.isfinite(score(made(), normals(2, 50))[NAME].value)
