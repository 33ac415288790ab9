import math

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Reference, Shard
from genpipe.plugins.mode_kl.config import ModeKLConfig
from genpipe.plugins.mode_kl.metric import build

X = torch.zeros(1, 1, 2, 2)
NAMES = tuple("abcdefghij")


def ready(real, num_classes=10, **options):
    metric = build(ModeKLConfig(**options))
    none = torch.zeros(1, 1, dtype=torch.float64)
    names = NAMES if num_classes == 10 else ()
    metric.prepare(
        Reference(
            spec=DataSpec(
                name="i", event="image", shape=(1, 2, 2), levels=4, num_classes=num_classes, class_names=names
            ),
            train=X,
            held_out=X,
            train_features=none,
            held_out_features=none,
            extractor="classifier",
            fingerprint="classifier@12345678",
        )
    )
    metric.calibrate({"train": metric.shard(Shard(x=X, logits=logits(real, num_classes)))})
    return metric


def logits(y, num_classes=10):
    return torch.nn.functional.one_hot(y, num_classes).double()


def cells(y, real=None, num_classes=10, **options):
    metric = ready(torch.arange(5000) % num_classes if real is None else real, num_classes, **options)
    return metric.result(metric.shard(Shard(x=X, logits=logits(y, num_classes))))


def drawn(num, seed, probs=(0.1,) * 10):
    return torch.multinomial(torch.tensor(probs), num, True, generator=torch.Generator().manual_seed(seed))


def test_a_grid_of_25_with_5_dropped_has_20_modes_and_ln_25_over_20():
    kl, modes = cells(torch.arange(4000) % 20, num_classes=25)
    assert kl.value == pytest.approx(math.log(25 / 20), abs=1e-12)
    assert (modes.name, modes.value) == ("modes(classifier@12345678) of 25", 20)
    assert modes.standard_error == pytest.approx(0, abs=1e-6)


def test_the_same_shares_give_0():
    kl, modes = cells(torch.arange(1000) % 10)
    assert kl.value == pytest.approx(0, abs=1e-12)
    assert modes.value == 10
    assert modes.notes == ()


def test_a_collapsed_class_is_caught_and_named_though_mistakes_fall_into_it():
    y = torch.arange(2000) % 10
    y[(y == 3)] = 4
    y[:4] = 3  # a classifier's mistakes
    kl, modes = cells(y)
    assert kl.value > 10 * cells(drawn(2000, 0))[0].value
    assert modes.value == 9
    assert modes.notes == ("collapsed: d (4 for 200)",)
    assert cells(y, min_share=0)[1].value == 10  # as the literature counts


def test_standard_error_is_the_spread_between_draws():
    for probs in ((0.1,) * 10, (0.3, 0.2, 0.1, 0.1, 0.1, 0.08, 0.05, 0.04, 0.02, 0.01)):
        found = [cells(drawn(500, 2 * s, probs), drawn(1000, 2 * s + 1))[0] for s in range(200)]
        spread = torch.tensor([cell.value for cell in found]).std()
        told = torch.tensor([cell.standard_error for cell in found]).mean()
        assert float(told / spread) == pytest.approx(1, abs=0.25)


def test_two_draws_of_real_data_are_apart_by_what_the_docstring_says():
    values = [cells(drawn(500, 2 * seed), drawn(1000, 2 * seed + 1))[0].value for seed in range(200)]
    assert sum(values) / 200 == pytest.approx(9 / 2 * (1 / 500 + 1 / 1000), rel=0.15)


def test_a_class_that_real_data_has_not_makes_it_infinite_and_is_named():
    kl, modes = cells(torch.arange(1000) % 10, real=torch.arange(1000) % 9)
    assert kl.value == math.inf
    assert kl.notes == ("infinite: j is in samples alone",)
    assert modes.name.endswith("of 9")


def test_too_few_samples_for_the_rarest_class_say_so():
    assert any("few" in note for note in cells(drawn(50, 0))[1].notes)
