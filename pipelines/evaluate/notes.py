"""What a reader must know of the whole table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genpipe.dataspec import DataSpec
from genpipe.parallel import Range
from genpipe.pipelines.evaluate.items import DENSITIES
from genpipe.pipelines.evaluate.opened import Opened
from genpipe.pipelines.features.same import example_hashes, num_found

BLOCK = 4096  # samples in memory at once
FEW = 100  # examples; below, standard errors are themselves guesses


def notes(opened: Opened) -> Iterator[str]:
    """Sentences, the gravest first."""
    yield from _overlaps(opened)
    yield from _samples(opened)
    yield from _sizes(opened)
    yield from _trained(opened)
    yield from _units(opened)
    yield from _likelihoods(opened)


def data_in_words(spec: DataSpec) -> str:
    """`digits: images 1 × 8 × 8, whole numbers 0 … 16`."""
    shape = " × ".join(str(n) for n in spec.shape)
    if spec.levels is not None:
        values = f"whole numbers 0 … {spec.levels - 1}"
    elif spec.low is not None and spec.high is not None:
        values = f"real numbers in [{spec.low:g}, {spec.high:g}]"
    else:
        values = "real numbers"
    return f"{spec.name}: {spec.event}s of {shape}, {values}"


def _overlaps(opened: Opened) -> Iterator[str]:
    """What is byte for byte where it should not be. Chance repeats of few values are told as well."""
    index, num_test = opened.kept.index, len(opened.test)
    if found := index.num_same["train"]:
        yield (
            f"{found} of {num_test} held-out examples ({found / num_test:.1%}) are also in the training split, value "
            "for value: whoever repeats these is taken for one who has learned, and the oracle's copies are no error."
        )
    if found := index.num_same.get("features", 0):
        yield (
            f"{found} of {num_test} held-out examples ({found / num_test:.1%}) are also in the split that the features "
            "were trained on, value for value."
        )
    num, samples = opened.sources.num, opened.rows[opened.subject].examples
    blocks = [example_hashes(samples(at).numpy(), opened.spec.dtype) for at in Range(0, num).cut(BLOCK)]
    hashes = np.concatenate(blocks)
    for split, name in (("train", "training"), ("test", "held-out")):
        if found := num_found(hashes, opened.kept.hashes(split)):
            yield f"{found} of {num} samples ({found / num:.1%}) are {name} examples, value for value."
    if (distinct := len(np.unique(hashes))) == 1:
        yield f"All {num} samples are one and the same example."
    elif distinct < num:
        yield f"Of {num} samples {distinct} are distinct."


def _samples(opened: Opened) -> Iterator[str]:
    """Of samples without a model: what was done to them as they came, and what is not known of them."""
    yield from opened.about_samples.get("notes", ())
    if opened.subject == "samples":
        yield (
            "What the samples' model was trained on is not known: copies are looked for in the training split alone, and "
            "a model that has seen the held-out examples is flattered."
        )


def _sizes(opened: Opened) -> Iterator[str]:
    num = opened.sources.num
    used = [named.extractor for named in opened.built.values() if named.record.needs == "features"]
    for extractor in dict.fromkeys(used):
        kept = opened.kept[extractor]
        if num < 2 * kept.num_features:
            yield (
                f"{num} examples in a row are fewer than twice the {kept.num_features} dimensions of {kept.fingerprint}: "
                "distances between distributions of these features are mostly bias; compare with the oracle's only."
            )
    if num < FEW:
        yield f"{num} examples in a row are few: differences smaller than several standard errors mean nothing."


def _trained(opened: Opened) -> Iterator[str]:
    used = {named.extractor for named in opened.built.values() if named.record.needs in ("features", "logits")}
    for extractor in (name for name in opened.kept.index.extractors if name in used):
        if opened.kept.record(extractor).trains:
            yield (
                f"{opened.kept[extractor].fingerprint} was trained on the {opened.kept.index.num['features']} examples "
                "of the split 'features', which no model and no row of this table sees."
            )


def _units(opened: Opened) -> Iterator[str]:
    if opened.spec.mean is not None:
        yield (
            "The floor has the data's mean and deviations, so a distance that compares no more than these "
            "(a Fréchet distance of plain values) cannot tell it from data."
        )


def _likelihoods(opened: Opened) -> Iterator[str]:
    if not any(named.record.needs in DENSITIES for named in opened.built.values()):
        return
    yield "Likelihoods are of held-out data, mean over examples; an exact value ranks with exact values only."
    if opened.spec.levels is not None:
        yield (
            f"Values are whole numbers 0 … {opened.spec.levels - 1}; densities see them with uniform noise in "
            "[0, 1) added, so a model's bits/dim are, in expectation, no better than its discrete likelihood; "
            "a family of discrete values gives that likelihood itself."
        )
    if opened.is_conditional:
        yield "The model is of each class by its label; its likelihood is log p(x), the sum over all classes by p(y)."
