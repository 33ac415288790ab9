"""What every registered feature extractor keeps, ours and a stranger's alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from genpipe import components
from genpipe.dataspec import DataSpec
from genpipe.evaluation import FeatureExtractor
from genpipe.registry import registry

EXTRACTORS = [provided.record for provided in registry().all("feature_extractor")]
IN_FLOAT64 = ("identity", "standardise", "pca")  # others are networks, which compute in float32
NUM_CLASSES = 3
RNG = np.random.default_rng(0)
# Each with a position that never changes, as the corners of real images do; a vector's columns all vary.
IMAGES = RNG.integers(0, 17, (60, 1, 8, 8)).astype(np.uint8)
IMAGES[:, :, 0, 0] = 0
COLOURS = RNG.uniform(-1, 1, (60, 3, 8, 8)).astype(np.float32)
DATA = {
    "image": [
        (DataSpec(name="grey", event="image", shape=(1, 8, 8), levels=17), torch.from_numpy(IMAGES)),
        (DataSpec(name="colour", event="image", shape=(3, 8, 8), low=-1.0, high=1.0), torch.from_numpy(COLOURS)),
    ],
    "vector": [
        (
            DataSpec(name="points", event="vector", shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0)),
            torch.from_numpy(RNG.normal(size=(60, 2)).astype(np.float32)),
        )
    ],
    "sequence": [
        (
            DataSpec(name="words", event="sequence", shape=(6,), levels=4),
            torch.from_numpy(RNG.integers(0, 4, (60, 6)).astype(np.uint8)),
        )
    ],
}


@dataclass(frozen=True)
class Labelled:
    """The split that extractors are trained on."""

    x: Tensor
    y: Tensor


CASES = [
    pytest.param(record, spec, x, id=f"{record.name}-{spec.name}")
    for record in EXTRACTORS
    for event in record.events
    for spec, x in DATA[event]
]
pytestmark = pytest.mark.parametrize(("record", "spec", "x"), CASES)


def options_for(record: components.FeatureExtractor) -> dict[str, Any]:
    """Those that keep training short, and name a network where one is asked for."""
    if record.name in ("module", "module_classifier"):
        flat = {"function": "tests.plugins.own_network.networks:flat", "output": 0}
        return {**flat, "logits_output": 1} if record.has_logits else flat
    if any(field.is_required() for field in record.config_class.model_fields.values()):
        pytest.skip(f"features '{record.name}' need options that only their own plugin knows")
    return {"max_steps": 2} if "max_steps" in record.config_class.model_fields else {}


def prepared(record: components.FeatureExtractor, spec: DataSpec, x: Tensor) -> FeatureExtractor:
    extractor: FeatureExtractor = record.builder(record.config_class(**options_for(record)))
    third = Labelled(x.flip(0), torch.arange(len(x)) % NUM_CLASSES)
    extractor.prepare(dataclasses.replace(spec, num_classes=NUM_CLASSES), third if record.trains else None, x)
    return extractor


def restored(record: components.FeatureExtractor, spec: DataSpec, state: dict[str, Tensor]) -> FeatureExtractor:
    """From a state that was at rest."""
    extractor: FeatureExtractor = record.builder(record.config_class(**options_for(record)))
    extractor.restore(dataclasses.replace(spec, num_classes=NUM_CLASSES), load(save(state)))
    return extractor


def test_features_are_finite_float64_vectors(record: components.FeatureExtractor, spec: DataSpec, x: Tensor) -> None:
    found = prepared(record, spec, x)(x)
    assert found.ndim == 2
    assert len(found) == len(x)
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    assert not found.requires_grad


def test_an_examples_features_do_not_depend_on_its_batch(
    record: components.FeatureExtractor, spec: DataSpec, x: Tensor
) -> None:
    extractor = prepared(record, spec, x)
    one_by_one = torch.cat([extractor(x[i : i + 1]) for i in range(10)])
    rtol, atol = (1e-6, 1e-9) if record.name in IN_FLOAT64 else (1e-4, 1e-5)
    torch.testing.assert_close(extractor(x)[:10], one_by_one, rtol=rtol, atol=atol)


def test_input_is_left_alone(record: components.FeatureExtractor, spec: DataSpec, x: Tensor) -> None:
    before = x.clone()
    prepared(record, spec, x)(x)
    assert torch.equal(x, before)


def test_fingerprint_is_a_short_line_that_comes_back(
    record: components.FeatureExtractor, spec: DataSpec, x: Tensor
) -> None:
    first, second = (prepared(record, spec, x).fingerprint for _ in range(2))
    assert first == second
    assert first.startswith(record.name)
    assert len(first) <= 80
    assert "\n" not in first


def test_one_that_was_restored_is_the_same_bitwise(
    record: components.FeatureExtractor, spec: DataSpec, x: Tensor
) -> None:
    extractor = prepared(record, spec, x)
    other = restored(record, spec, extractor.state())
    assert other.fingerprint == extractor.fingerprint
    assert torch.equal(other(x), extractor(x))
    if record.has_logits:
        assert torch.equal(other.logits(x), extractor.logits(x))


def test_its_state_does_not_change_by_use(record: components.FeatureExtractor, spec: DataSpec, x: Tensor) -> None:
    extractor = prepared(record, spec, x)
    before = save(extractor.state())
    extractor(x)
    assert save(extractor.state()) == before
    assert save(restored(record, spec, extractor.state()).state()) == before


def test_logits_are_there_where_the_record_says_so(
    record: components.FeatureExtractor, spec: DataSpec, x: Tensor
) -> None:
    extractor = prepared(record, spec, x)
    if not record.has_logits:
        with pytest.raises(NotImplementedError):
            extractor.logits(x)
        return
    logits = extractor.logits(x)
    assert logits.shape == (len(x), NUM_CLASSES)
    assert logits.isfinite().all()
    assert not logits.requires_grad
