import math

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.evaluation import INCEPTION_FINGERPRINT, Reference, Shard
from genpipe.plugins.classifier_score.config import ClassifierScoreConfig
from genpipe.plugins.classifier_score.metric import build

SPEC = DataSpec(name="images", event="image", shape=(1, 2, 2), levels=4)
X = torch.zeros(1, 1, 2, 2)
SURE = 60.0  # of logits: e^-60 is nothing beside 1


def ready(fingerprint="classifier@12345678", **options):
    metric = build(ClassifierScoreConfig(**options))
    none = torch.zeros(1, 1, dtype=torch.float64)
    metric.prepare(
        Reference(
            spec=SPEC,
            train=X,
            held_out=X,
            train_features=none,
            held_out_features=none,
            extractor="classifier",
            fingerprint=fingerprint,
        )
    )
    return metric


def cells(logits, shards=1, **options):
    metric, start, state = ready(**options), 0, None
    for part in logits.chunk(shards):
        of = metric.shard(Shard(x=X, logits=part, first_index=start))
        state, start = of if state is None else metric.merge(state, of), start + len(part)
    return metric.result(state)


def one_hot(y, num_classes):
    return SURE * torch.nn.functional.one_hot(y, num_classes).double()


def test_a_classifier_that_tells_nothing_gives_1():
    for cell in cells(torch.zeros(1000, 7)):
        assert cell.value == pytest.approx(1, abs=1e-12)
        assert cell.standard_error == pytest.approx(0, abs=1e-9)


def test_sure_answers_spread_evenly_give_the_number_of_classes():
    whole, of_splits = cells(one_hot(torch.arange(10_000) % 10, 10))
    assert whole.value == pytest.approx(10, abs=1e-9)
    # A split's classes are even but for chance, which costs (K − 1)/(2N) of the logarithm.
    assert of_splits.value == pytest.approx(10 * math.exp(-9 / 2000), abs=0.05)


def test_labels_in_turns_do_not_collapse_the_splits():
    assert cells(one_hot(torch.arange(2000) % 10, 10))[1].value > 9


def test_sure_answers_of_one_class_give_1():
    assert cells(one_hot(torch.full((100,), 3), 10))[0].value == pytest.approx(1)


def test_it_is_the_exponential_of_mean_kl_to_the_mean():
    logits = torch.randn(501, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    p = logits.softmax(1)
    expected = (p * (p.log() - p.mean(0).log())).sum(1).mean().exp()
    assert cells(logits, shards=7)[0].value == pytest.approx(float(expected), rel=1e-12)


def test_the_standard_error_is_the_scores_spread_between_draws():
    found = [
        cells(torch.randn(400, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2)
        for seed in range(200)
    ]
    for which in (0, 1):
        spread = torch.tensor([draw[which].value for draw in found]).std()
        told = torch.tensor([draw[which].standard_error for draw in found]).mean()
        assert float(told / spread) == pytest.approx(1, abs=0.2)


def test_the_splits_deviation_is_told_apart_from_the_error():
    _, of_splits = cells(torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * 2)
    (note,) = [note for note in of_splits.notes if "standard deviation" in note]
    deviation = float(note.split("is ")[1].split()[0])
    assert "ddof 0" in note
    assert of_splits.standard_error == pytest.approx(deviation / 3, rel=1e-3)  # √(10/9) / √10


def test_few_samples_say_so():
    assert any("few for 10 classes" in note for note in cells(torch.randn(200, 10))[1].notes)
    (whole,) = cells(torch.randn(5, 10))
    assert whole.standard_error is None
    assert "there are 5 samples" in whole.notes[0]


def test_only_the_original_inceptions_is_called_is():
    assert [c.name for c in cells(torch.randn(50, 3))] == [
        "CS(classifier@12345678)",
        "CS(classifier@12345678), mean of 10 splits",
    ]
    assert cells(torch.randn(50, 3), fingerprint=INCEPTION_FINGERPRINT)[0].name == "IS"
