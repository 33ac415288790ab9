import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from genpipe.data import read_whole
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.evaluation import Reference, Shard
from genpipe.plugins.files import fashion_mnist
from genpipe.plugins.files.config import FashionMnistConfig
from genpipe.plugins.mode_kl import metric as mode_kl
from genpipe.plugins.mode_kl.config import ModeKLConfig
from genpipe.plugins.trained_features import autoencoder, classifier
from genpipe.plugins.trained_features.calibration import NUM_BINS, reliability
from genpipe.plugins.trained_features.config import AutoencoderConfig, ClassifierConfig
from genpipe.plugins.trained_features.fitting import parts_of

DIGITS = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17, num_classes=10)
BUNCH, ORDER = load_digits(), np.random.default_rng(0).permutation(1797)  # they come writer by writer
PIXELS, LABELS = BUNCH.images.astype(np.uint8)[ORDER, None], BUNCH.target.astype(np.int64)[ORDER]
SPLIT, REST = slice(0, 500), slice(500, 1000)
SMALL = {"width": 8, "num_features": 16, "max_steps": 200}


def prepared(module=classifier, spec=DIGITS, x=PIXELS[SPLIT], y=LABELS[SPLIT], **options):
    config = {classifier: ClassifierConfig, autoencoder: AutoencoderConfig}[module](**{**SMALL, **options})
    made = module.build(config)
    made.prepare(spec, SimpleNamespace(x=x, y=y), None)
    return made


@pytest.fixture(scope="module")
def trained():
    return prepared()


def test_digits_are_told_apart_by_few_examples(trained):
    guess = trained.logits(torch.from_numpy(PIXELS[REST])).argmax(dim=1).numpy()
    accuracy = (guess == LABELS[REST]).mean()
    assert accuracy > 0.9
    last = trained.history[-1]
    assert last["judged on"] == 75
    assert abs(last["accuracy"] - accuracy) < 5 * last["accuracy standard error"]
    assert 0 <= last["expected calibration error"] < 0.2
    assert last["nll"] < np.log(10) / 2


def test_history_tells_the_held_out_loss_of_every_look(trained):
    looks = trained.history[:-1]
    assert [look["step"] for look in looks] == list(range(50, 50 * len(looks) + 1, 50))
    assert looks[-1]["held-out loss"] < looks[0]["held-out loss"]


def test_features_are_those_that_the_logits_come_from(trained):
    features = trained(torch.from_numpy(PIXELS[:9]))
    assert features.shape == (9, 16)
    state = trained.state()
    head = features @ state["network.head.weight"].double().T + state["network.head.bias"]
    torch.testing.assert_close(head, trained.logits(torch.from_numpy(PIXELS[:9])), atol=1e-4, rtol=1e-4)


def test_the_same_split_gives_the_same_weights_whatever_was_drawn_before(trained):
    torch.randn(7)
    assert prepared().fingerprint == trained.fingerprint
    assert prepared(seed=1, max_steps=50).fingerprint != prepared(max_steps=50).fingerprint


def test_training_draws_nothing_from_the_callers_generator():
    before = torch.get_rng_state()
    prepared(max_steps=2)
    prepared(autoencoder, max_steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_it_is_judged_by_is_seen_by_nothing_else():
    parts = parts_of(100, 0, "classifier")
    assert sorted(np.concatenate([parts.fit, parts.stop, parts.judge])) == list(range(100))
    assert (len(parts.fit), len(parts.stop), len(parts.judge)) == (70, 15, 15)


def test_a_collapsed_class_of_real_digits_is_caught_by_name(trained):
    names = tuple(str(digit) for digit in range(10))
    metric = mode_kl.build(ModeKLConfig())
    none = torch.zeros(1, 1, dtype=torch.float64)
    metric.prepare(
        Reference(
            spec=dataclasses.replace(DIGITS, class_names=names),
            train=PIXELS,
            held_out=PIXELS,
            train_features=none,
            held_out_features=none,
            extractor="classifier",
            fingerprint=trained.fingerprint,
        )
    )

    def state(which):
        x = torch.from_numpy(PIXELS[REST][which])
        return metric.shard(Shard(x=x, logits=trained.logits(x)))

    labels = LABELS[REST]
    metric.calibrate({"train": state(np.arange(500) < 250)})
    whole, without = metric.result(state(np.arange(500) >= 250)), metric.result(state(labels != 7))
    assert whole[1].value == 10
    assert without[1].value == 9
    assert without[1].notes[0].startswith("collapsed: 7 (")
    assert without[0].value > whole[0].value + 2 * whole[0].standard_error


def test_labels_of_noise_are_no_better_than_chance():
    y = np.random.default_rng(0).integers(0, 10, 500)
    last = prepared(y=y, max_steps=100).history[-1]
    assert last["accuracy"] < 0.1 + 5 * last["accuracy standard error"]


def test_reliability_of_a_classifier_that_is_right_as_often_as_it_says():
    p = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.5 + 0.5
    y = (torch.rand(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) > p).long()
    honest = torch.stack([p.log(), (1 - p).log()], dim=1)
    assert reliability(honest, y).error < 0.01
    found = reliability(honest * 50, y)  # says 1 and is right three times in four
    assert found.error == pytest.approx(0.25, abs=0.01)
    assert found.num.sum() == 200_000
    assert len(found.num) == NUM_BINS


def test_reliability_is_kept_with_the_weights(trained):
    state = trained.state()
    again = classifier.build(ClassifierConfig(**SMALL))
    again.restore(DIGITS, state)
    assert torch.equal(again.state()["reliability.accuracy"], state["reliability.accuracy"])
    assert int(state["reliability.num"].sum()) == 75


def test_channels_apart_tell_combinations_that_were_never_seen():
    rng = np.random.default_rng(0)
    which = rng.integers(0, 500, (300, 2))
    x, y = PIXELS[which, 0], LABELS[which] @ [10, 1]
    spec = DataSpec(name="pairs", event="image", shape=(2, 8, 8), levels=17, num_classes=100)
    made = prepared(spec=spec, x=x, y=y, channels_apart=True)
    new = rng.integers(500, 1000, (300, 2))
    logits = made.logits(torch.from_numpy(PIXELS[new, 0]))
    assert logits.shape == (300, 100)
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(300, dtype=torch.float64))
    assert (logits.argmax(dim=1).numpy() == LABELS[new] @ [10, 1]).mean() > 0.5  # 0.01 by chance
    assert made(torch.from_numpy(x[:5])).shape == (5, 32)
    with pytest.raises(UsageError, match=r"images of shape \(2, 8, 8\) and 10 classes"):
        prepared(
            spec=DataSpec(name="odd", event="image", shape=(2, 8, 8), levels=17, num_classes=10), channels_apart=True
        )


def test_vectors_and_sequences_are_classified_too():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    points = (rng.normal(size=(300, 2)) + 6 * y[:, None]).astype(np.float32)
    spec = DataSpec(name="points", event="vector", shape=(2,), num_classes=2, mean=(3.0, 3.0), std=(3.2, 3.2))
    assert prepared(spec=spec, x=points, y=y, max_steps=100).history[-1]["accuracy"] > 0.95
    letters = np.where(rng.random((300, 9)) < 0.8, y[:, None], rng.integers(0, 5, (300, 9))).astype(np.uint8)
    spec = DataSpec(name="letters", event="sequence", shape=(9,), levels=5, num_classes=2)
    assert prepared(spec=spec, x=letters, y=y, max_steps=100).history[-1]["accuracy"] > 0.9
    spec = DataSpec(name="letters", event="sequence", shape=(9,), levels=5)
    assert (
        prepared(autoencoder, spec=spec, x=letters, y=None, max_steps=100, num_features=4).history[-1]["explained"]
        > 0.1
    )


def test_an_autoencoder_explains_digits_better_than_their_mean():
    made = prepared(autoencoder)
    assert made.history[-1]["explained"] > 0.4
    assert made(torch.from_numpy(PIXELS[:5])).shape == (5, 16)


def test_noise_cannot_be_explained():
    noise = np.random.default_rng(0).integers(0, 17, (300, 1, 8, 8)).astype(np.uint8)
    assert prepared(autoencoder, x=noise, max_steps=100, num_features=2).history[-1]["explained"] < 0.1


def test_bad_splits_are_named():
    unlabelled = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17)
    with pytest.raises(DataError, match="'digits' has none; the features 'autoencoder'"):
        prepared(spec=unlabelled)
    with pytest.raises(DataError, match=r"has 12 examples, expected at least 20; raise data.features_fraction"):
        prepared(x=PIXELS[:12], y=LABELS[:12])
    with pytest.raises(DataError, match=r"of 10 classes 8 have no example among the 350 .* \(2, 3, 4"):
        prepared(y=LABELS[SPLIT] % 2)
    made = prepared(max_steps=1)
    with pytest.raises(DataError, match=r"values in \[0, 255\], expected whole numbers 0 … 16"):
        made(torch.tensor([0, 255], dtype=torch.uint8).repeat(32).reshape(1, 1, 8, 8))


@pytest.mark.slow
def test_fashion_mnist_is_told_apart_and_the_judgement_of_it_holds():
    root = Path(os.environ.get("GENPIPE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    folder = root / "fashion-mnist"
    if not folder.is_dir():
        pytest.skip(f"no Fashion-MNIST in {folder}: set GENPIPE_TEST_DATA to the folder that holds fashion-mnist/")
    raw = read_whole(fashion_mnist.build(FashionMnistConfig(folder=str(folder), part="test"), 0))
    made = classifier.build(ClassifierConfig())
    made.prepare(raw.spec, SimpleNamespace(x=raw.x[:7000], y=raw.y[:7000]), raw.x[:1])
    logits = torch.cat([made.logits(x) for x in torch.from_numpy(raw.x[7000:]).split(256)])
    y = torch.from_numpy(raw.y[7000:])
    accuracy = float((logits.argmax(dim=1) == y).double().mean())
    last = made.history[-1]
    assert accuracy > 0.82
    assert abs(last["accuracy"] - accuracy) < 4 * (last["accuracy standard error"] + 0.007)
    assert reliability(logits, y).error < 0.1
