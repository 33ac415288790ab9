import itertools
import math

import pytest
import torch
from scipy import integrate

from genpipe.dataspec import DataSpec
from genpipe.errors import GenpipeError
from genpipe.evaluation import Reference, Shard
from genpipe.model import LogProb
from genpipe.plugins.divergences.config import DivergencesConfig
from genpipe.plugins.divergences.metric import FISHER, FORWARD, JS, REVERSE, WASSERSTEIN, Divergences
from genpipe.plugins.divergences.transport import wasserstein_2

NUM = 20_000


class Gaussians:
    """An even mixture of N(centre, std² I)."""

    def __init__(self, centres, std=1.0):
        self.centres, self.std = torch.as_tensor(centres, dtype=torch.float64), std

    def draw(self, num, seed):
        generator = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.centres), (num,), generator=generator)
        return self.centres[which] + self.std * torch.randn(num, self.centres.shape[1], generator=generator).double()

    def log_density(self, x):
        squares = (x[:, None].double() - self.centres).square().sum(-1) / self.std**2
        constant = self.centres.shape[1] * math.log(self.std * math.sqrt(2 * math.pi)) + math.log(len(self.centres))
        return torch.logsumexp(-0.5 * squares, 1) - constant

    def log_prob(self, kind="exact"):
        return lambda x, y=None, *, seed=0, first_index=0: LogProb(self.log_density(x), kind)

    def score(self, x):
        offsets = self.centres - x[:, None].double()
        shares = torch.softmax(-0.5 * offsets.square().sum(-1) / self.std**2, dim=1)
        return (shares[..., None] * offsets).sum(1) / self.std**2


def score(truth, model, *, samples=None, kind="exact", num=NUM, num_shards=1, density=True, draws=True, **options):
    metric = Divergences(DivergencesConfig(**options))
    held_out, x = truth.draw(num, 1), model.draw(num, 2) if samples is None else samples
    metric.prepare(
        Reference(
            spec=DataSpec(name="points", event="vector", shape=tuple(x.shape[1:])), train=held_out, held_out=held_out,
            train_features=held_out, held_out_features=held_out, extractor="identity",
            log_density=truth.log_density, score=truth.score, draw=truth.draw if draws else None,
        )
    )  # fmt: skip
    state, start = None, 0
    for part, real in zip(x.chunk(num_shards), held_out.chunk(num_shards), strict=True):
        shard = metric.shard(
            Shard(
                x=part,
                held_out=real,
                first_index=start,
                log_prob=model.log_prob(kind) if density else None,
                score=model.score if density else None,
            )
        )
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    return {cell.name: cell for cell in metric.result(state)}


def assert_near(cell, truth, at_least=0.0):
    assert cell.value == pytest.approx(truth, abs=4 * cell.standard_error + at_least), cell.name


def test_gaussians_have_the_divergences_of_the_textbook():
    centre = [1.0, -0.5]
    cells = score(Gaussians([[0.0, 0.0]]), Gaussians([centre], std=1.5), draws=False)
    shift = 1.25
    assert_near(cells[FORWARD], 0.5 * (2 / 2.25 + shift / 2.25 - 2) + 2 * math.log(1.5))
    assert_near(cells[REVERSE], 0.5 * (2 * 2.25 + shift - 2) - 2 * math.log(1.5))
    assert {cell.kind for cell in cells.values()} == {"exact"}
    assert {cell.better for cell in cells.values()} == {"lower"}


def test_fishers_divergence_of_a_shift_is_its_squared_length():
    cell = score(Gaussians([[0.0, 0.0, 0.0]]), Gaussians([[1.0, 2.0, -1.0]]), draws=False)[FISHER]
    assert cell.value == pytest.approx(6, abs=1e-9)
    assert cell.kind == "exact"


def test_mixtures_have_the_divergences_that_integration_gives():
    truth, model = Gaussians([[-2.0], [1.0]]), Gaussians([[-1.0], [2.5]], std=1.2)
    cells = score(truth, model, draws=False)

    def integral(of):
        def integrand(x):
            point = torch.tensor([[x]])
            log_p, log_q = float(truth.log_density(point)), float(model.log_density(point))
            return of(log_p, log_q)

        return integrate.quad(integrand, -14, 16, limit=300)[0]

    def js(p, q):
        m = math.log(0.5 * (math.exp(p) + math.exp(q)))
        return 0.5 * math.exp(p) * (p - m) + 0.5 * math.exp(q) * (q - m)

    assert_near(cells[FORWARD], integral(lambda p, q: math.exp(p) * (p - q)))
    assert_near(cells[REVERSE], integral(lambda p, q: math.exp(q) * (q - p)))
    assert_near(cells[JS], integral(js))


def test_jensen_shannon_of_disjoint_densities_is_the_logarithm_of_two():
    cells = score(Gaussians([[0.0, 0.0]]), Gaussians([[200.0, 0.0]]), num=500)
    assert cells[JS].value == pytest.approx(math.log(2), abs=1e-12)
    assert cells[FORWARD].value > 1000


def test_the_truth_itself_is_at_no_distance_but_that_of_two_draws():
    cells = score(Gaussians([[0.0, 0.0]]), Gaussians([[0.0, 0.0]]))
    for name in (FORWARD, REVERSE, JS, FISHER):
        assert cells[name].value == pytest.approx(0, abs=1e-12)
    assert 0 < cells[WASSERSTEIN].value < 0.3


def test_a_dropped_mode_is_told_by_the_forward_divergence_and_an_invented_one_by_the_reverse():
    both, one = Gaussians([[-5.0], [5.0]]), Gaussians([[5.0]])
    dropped = score(both, one, draws=False)
    assert dropped[FORWARD].value > 10
    assert_near(dropped[REVERSE], math.log(2), 1e-3)
    invented = score(one, both, draws=False)
    assert_near(invented[FORWARD], math.log(2), 1e-3)
    assert invented[REVERSE].value > 10


def test_a_bound_gives_an_upper_bound_of_the_forward_divergence_and_no_other():
    cells = score(Gaussians([[0.0]]), Gaussians([[1.0]]), kind="lower_bound", draws=False)
    assert set(cells) == {FORWARD, FISHER}
    assert cells[FORWARD].kind == "lower_bound"
    assert "upper bound" in cells[FORWARD].notes[0]
    assert cells[FISHER].kind == "estimate"


def test_an_unnormalised_density_has_no_divergence_and_a_row_without_one_only_its_samples():
    truth = Gaussians([[0.0]])
    unnormalised = score(truth, truth, kind="unnormalized", num=50)
    assert set(unnormalised) == {WASSERSTEIN}
    assert "unnormalised" in unnormalised[WASSERSTEIN].notes[0]
    assert set(score(truth, truth, density=False, num=50)) == {WASSERSTEIN}


def test_a_density_that_is_zero_at_an_example_is_infinitely_far():
    truth, narrow = Gaussians([[0.0]]), Gaussians([[0.0]], std=1e-200)
    narrow.log_density = lambda x: torch.where(x[:, 0].abs() < 0.5, 0.0, -math.inf).double()
    cells = score(truth, narrow, samples=torch.zeros(50, 1), num=50, draws=False)
    assert cells[FORWARD].value == math.inf
    assert cells[FORWARD].standard_error is None
    assert "of 50" in cells[FORWARD].notes[0]
    assert math.isfinite(cells[JS].value)


def test_densities_that_are_no_number_are_an_error():
    truth, broken = Gaussians([[0.0]]), Gaussians([[0.0]])
    broken.log_density = lambda x: torch.full((len(x),), math.nan)
    with pytest.raises(GenpipeError, match="NaN"):
        score(truth, broken, num=20)


def test_a_shift_is_a_wasserstein_distance_of_its_length_in_data_units():
    cell = score(Gaussians([[0.0, 0.0]]), Gaussians([[30.0, 40.0]]))[WASSERSTEIN]
    assert cell.value == pytest.approx(50, rel=0.005)
    assert cell.standard_error is not None
    few = score(Gaussians([[0.0, 0.0]]), Gaussians([[30.0, 40.0]]), num=20)[WASSERSTEIN]
    assert "20 samples" in few.notes[0]


def test_the_transport_is_the_best_of_all_pairings():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(6, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    best = min(
        float((first - second[list(order)]).square().sum(1).mean()) for order in itertools.permutations(range(6))
    )
    assert wasserstein_2(first, second) == pytest.approx(math.sqrt(best), rel=1e-12)


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    truth, model = Gaussians([[0.0, 0.0], [3.0, 0.0]]), Gaussians([[0.0, 1.0]])
    one, many = (score(truth, model, num=640, num_shards=n, block=100) for n in (1, num_shards))
    assert list(one) == list(many) == [FORWARD, REVERSE, JS, FISHER, WASSERSTEIN]
    for name in one:
        assert many[name].value == pytest.approx(one[name].value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(one[name].standard_error, rel=1e-10)
