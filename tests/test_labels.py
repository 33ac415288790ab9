"""Labels: p(y), log p(x) as the sum over classes, and what models with and without labels refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor

from genpipe.components import Family
from genpipe.config import Config
from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError, DataError, UsageError
from genpipe.labels import draw_labels
from genpipe.model import Estimator, LogProb, Model, Sampler
from genpipe.noise import Noise
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import train

FRACTIONS = (0.5, 0.0, 0.3, 0.2)
MEANS, SPREADS = torch.tensor([-3.0, 99.0, 0.5, 4.0]), torch.tensor([0.5, 1.0, 1.0, 2.0])
SPEC = DataSpec(
    name="line",
    event="vector",
    shape=(1,),
    num_classes=4,
    mean=(1.0,),
    std=(2.0,),
    class_fractions=FRACTIONS,
)
NORMALS = Family(
    name="normals",
    summary="a normal for each class",
    config="",
    build="",
    likelihood="exact",
    events=("vector",),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score", "encode", "decode", "path"}),
    conditional=True,
    estimators={"shaky": {"num_samples": 1}},
)


class Options(Config):
    conditional: bool = Field(False, description="model each class by its label")


class Normals(Model):
    """p(z | y) = N(z; m_y, s_y²) in network units, with what it was given as labels kept for tests."""

    given: Any

    def density(self, z: Tensor, y: Tensor) -> Tensor:
        u = (z[:, 0] - MEANS[y]) / SPREADS[y]
        return -0.5 * u**2 - SPREADS[y].log() - 0.5 * math.log(2 * math.pi)

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        self.given = y
        return self.density(z, torch.zeros(len(z), dtype=torch.int64) if y is None else y)

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        assert y is not None
        return LogProb(
            self.density(z, y) - 0.1, "lower_bound", 0.1 * (1 + y.double()), check=torch.full((len(z),), 0.2)
        )

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        self.given = y
        y = torch.zeros(num, dtype=torch.int64) if y is None else y
        return (MEANS[y] + SPREADS[y] * noise.normal("z", (num,)))[:, None]

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        return z

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return code

    def estimate(self, batches: Any, progress: Any) -> dict[str, float]:
        self.given = next(batches()).y
        return {}


def made(conditional: bool = True, spec: DataSpec = SPEC) -> Normals:
    return Normals(NORMALS, Options(conditional=conditional), spec)


def test_labels_are_drawn_as_often_as_the_training_split_has_them_and_none_of_a_class_without_examples() -> None:
    labels = draw_labels(SPEC, 200_000, Noise(0, "sample"))
    counts = torch.bincount(labels, minlength=4) / 200_000
    assert counts[1] == 0
    assert counts.tolist() == pytest.approx(FRACTIONS, abs=0.005)
    even = draw_labels(replace(SPEC, class_fractions=None), 200_000, Noise(0, "sample"))
    assert (torch.bincount(even) / 200_000).tolist() == pytest.approx([0.25] * 4, abs=0.005)


def test_a_drawn_label_belongs_to_its_example_in_any_batch() -> None:
    whole = draw_labels(SPEC, 50, Noise(3, "sample"))
    assert torch.equal(torch.cat([draw_labels(SPEC, n, Noise(3, "sample", i)) for i, n in ((0, 20), (20, 30))]), whole)
    assert torch.equal(made().sample(5, seed=3, first_index=7), made().sample(50, seed=3)[7:12])


def test_without_labels_a_conditional_model_samples_and_scores_the_mixture_of_its_classes() -> None:
    model = made()
    x = torch.linspace(-30, 40, 14001, dtype=torch.float64).float()[:, None]
    answer = model.log_prob(x)
    assert answer.kind == "exact"
    assert float(torch.trapezoid(answer.nats.exp(), x[:, 0].double())) == pytest.approx(1, abs=1e-4)
    by_class = torch.stack([model.log_prob(x, k).nats.double() + math.log(f) for k, f in enumerate(FRACTIONS) if f])
    torch.testing.assert_close(answer.nats, by_class.logsumexp(0), rtol=0, atol=1e-5)
    samples = model.sample(100_000, seed=1).double()
    expected = sum(f * m for f, m in zip(FRACTIONS, MEANS.tolist(), strict=True)) * 2 + 1
    assert float(samples.mean()) == pytest.approx(expected, abs=0.06)


def test_the_score_is_the_gradient_of_the_mixture() -> None:
    model, x, step = made(), torch.linspace(-8, 12, 41)[:, None].double(), 1e-2
    up, down = (model.log_prob((x + d).float()).nats for d in (step, -step))
    torch.testing.assert_close(model.score(x.float()).double()[:, 0], (up - down) / (2 * step), rtol=2e-2, atol=2e-3)


def test_the_bound_of_an_estimator_stays_a_bound_with_the_error_of_its_classes() -> None:
    model, x = made(), torch.tensor([[-5.0], [9.0]])
    whole = model.log_prob(x, estimator="shaky")
    assert whole.kind == "lower_bound"
    assert whole.estimator == Estimator(name="shaky", num_samples=1)
    torch.testing.assert_close(whole.nats, model.log_prob(x).nats - 0.1, rtol=0, atol=1e-6)
    assert whole.standard_error is not None
    assert whole.check is not None
    assert whole.standard_error.tolist() == pytest.approx([0.1, 0.4], rel=0.02)  # each is of one class alone
    assert whole.check.tolist() == pytest.approx([0.2, 0.2])


def test_a_model_without_labels_is_given_none_and_refuses_them() -> None:
    model, x = made(conditional=False), torch.zeros(3, 1)
    model.sample(3)
    assert model.given is None
    model.log_prob(x)
    assert model.given is None
    for ask in (lambda: model.sample(3, 0), lambda: model.log_prob(x, 0), lambda: model.score(x, 0)):
        with pytest.raises(CapabilityError, match=r"takes no labels; train it with model\.conditional=true"):
            ask()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (4, "label 4 is no class of data set 'line': those are 0 … 3"),
        (torch.tensor([0, -1, 2]), "label -1 is no class"),
        (torch.tensor([0, 1]), "there are 2 labels for 3 examples"),
        (torch.zeros(3), "expected integers"),
        (torch.zeros(3, 1, dtype=torch.int64), "expected integers"),
    ],
)
def test_labels_that_are_none_are_named(y: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made().log_prob(torch.zeros(3, 1), y)


def test_codes_are_of_examples_whose_labels_are_known() -> None:
    model, x = made(), torch.zeros(3, 1)
    assert model.decode(model.encode(x, 0), 0).shape == x.shape
    with pytest.raises(UsageError, match="encode needs y"):
        model.encode(x)
    with pytest.raises(UsageError, match="decode needs y"):
        model.decode(x)


def test_data_without_labels_or_of_one_class_has_nothing_to_condition_on(tmp_path: Path) -> None:
    bare = replace(SPEC, num_classes=None, class_fractions=None)
    made(conditional=False, spec=bare)
    with pytest.raises(UsageError, match=r"'line' has no labels: set model\.conditional to false"):
        made(spec=bare)
    with pytest.raises(UsageError, match="all of the training split of 'line' is of class 2"):
        made(spec=replace(SPEC, class_fractions=(0.0, 0.0, 1.0, 0.0)))
    with pytest.raises(DataError, match="2 class_fractions, expected one for each of 4"):
        replace(SPEC, class_fractions=(0.5, 0.5))
    x = np.zeros((4, 1), dtype=np.float32)
    with pytest.raises(DataError, match="split 'train' of data set 'line' has no labels"):
        fit(made(), Split(SPEC, "train", x, None), tmp_path)


@pytest.mark.parametrize("conditional", [True, False])
def test_training_gives_labels_to_conditional_models_alone(conditional: bool, tmp_path: Path) -> None:
    model = made(conditional)
    y = np.array([0, 2, 3, 0])
    fit(model, Split(SPEC, "train", np.zeros((4, 1), dtype=np.float32), y), tmp_path)
    assert (None if model.given is None else model.given.tolist()) == (y.tolist() if conditional else None)


def fit(model: Model, split: Split, tmp: Path) -> None:
    train(model, split, TrainConfig(), seed=0, device="cpu", scratch=tmp, progress=ProgressFile(None))
