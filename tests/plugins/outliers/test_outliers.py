import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.evaluation import Reference, Shard
from genpipe.model import LogProb
from genpipe.plugins.outliers.auroc import auroc
from genpipe.plugins.outliers.metric import Outliers, complexity
from genpipe.registry import registry
from genpipe.validation import restore_config

IMAGES = DataSpec(name="images", event="image", shape=(1, 6, 6), levels=256)
POINTS = DataSpec(name="points", event="vector", shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))


def gradients(num, seed=0):
    """Images of a slope and a little noise."""
    rng = np.random.default_rng(seed)
    slope = 20 * np.arange(6)[None, None, None] + rng.integers(0, 60, (num, 1, 1, 1))
    return torch.from_numpy((slope + rng.integers(0, 40, (num, 1, 6, 6))).astype(np.uint8))


def rough(x, y=None, *, seed=0, first_index=0):
    """Likelier the less neighbours differ: it prefers what is simple."""
    return LogProb(-x.double().diff(dim=-1).square().flatten(1).sum(1), "lower_bound")


def score(x, log_prob, spec=IMAGES, num_shards=1, **options):
    config = restore_config(registry().get("metric", "outliers").config_class, options, registry())
    metric, f = Outliers(config), x.flatten(1).double()
    metric.prepare(
        Reference(spec=spec, train=x, held_out=x, train_features=f, held_out_features=f, extractor="identity")
    )
    state, start = None, 0
    for part in x.chunk(num_shards):
        shard = metric.shard(Shard(x=part, first_index=start, log_prob=log_prob))
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    return {cell.name: cell for cell in metric.result(state)}


def test_noise_and_shuffled_pixels_are_told_from_images():
    for out in ("noise", "shuffled"):
        cells = score(gradients(200), rough, out=out)
        assert cells[f"AUROC by NLL ({out})"].value > 0.99
        assert cells[f"AUROC by typicality ({out})"].value > 0.9
        assert cells[f"AUROC by NLL ({out})"].kind == "lower_bound"


def test_smoother_images_are_ranked_as_likelier_than_the_data_and_typicality_sees_that_they_are_not():
    cells = score(gradients(200), rough, out="smooth")
    assert cells["AUROC by NLL (smooth)"].value < 0.1
    assert "below chance" in cells["AUROC by NLL (smooth)"].notes[0]
    assert cells["AUROC by typicality (smooth)"].value > 0.9
    baseline = cells["AUROC by complexity alone (smooth)"]
    assert baseline.value < 0.5
    assert (baseline.kind, baseline.better) == (None, None)


def test_a_density_that_knows_nothing_is_at_chance():
    generator = torch.Generator().manual_seed(1)

    def guess(x, y=None, *, seed=0, first_index=0):
        return LogProb(torch.randn(len(x), generator=generator), "exact")

    cell = score(gradients(500), guess)["AUROC by NLL (noise)"]
    assert cell.value == pytest.approx(0.5, abs=4 * cell.standard_error)


def test_the_area_is_that_of_scikit_learn_and_a_shift_of_a_normal_reaches_phi():
    generator = torch.Generator().manual_seed(2)
    inside = torch.randn(4000, generator=generator).double()
    outside = torch.randn(3000, generator=generator).double() + 1
    value, error = auroc(inside, outside)
    labels = np.repeat([0, 1], [4000, 3000])
    assert value == pytest.approx(roc_auc_score(labels, torch.cat([inside, outside])), rel=1e-12)
    assert value == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=4 * error)
    rounded = [x.round() for x in (inside, outside)]
    assert auroc(*rounded)[0] == pytest.approx(roc_auc_score(labels, torch.cat(rounded)), rel=1e-12)


def test_the_standard_error_is_how_the_area_scatters():
    generator = torch.Generator().manual_seed(3)
    found = [
        auroc(torch.randn(80, generator=generator), torch.randn(50, generator=generator) + 0.7) for _ in range(300)
    ]
    values, errors = (torch.tensor(column, dtype=torch.float64) for column in zip(*found, strict=True))
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_real_values_have_no_complexity_and_vectors_no_pixels():
    def normal(x, y=None, *, seed=0, first_index=0):
        return LogProb(-0.5 * x.double().square().sum(1), "exact")

    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(4)) * 0.1
    cells = score(x, normal, POINTS)
    assert list(cells) == ["AUROC by NLL (noise)", "AUROC by typicality (noise)"]
    assert cells["AUROC by NLL (noise)"].value > 0.9
    with pytest.raises(UsageError, match="'shuffled' is for images"):
        score(x, normal, POINTS, out="shuffled")


def test_another_data_set_is_out_and_has_to_have_the_same_units():
    spec = DataSpec(name="digits", event="image", shape=(1, 8, 8), levels=17)
    x = torch.full((40, 1, 8, 8), 3, dtype=torch.uint8)
    cells = score(x, rough, spec, dataset="digits")
    assert cells["AUROC by NLL (digits)"].value == 1
    with pytest.raises(DataError, match=r"shape \(1, 8, 8\), and 'images' \(1, 6, 6\)"):
        score(gradients(4), rough, dataset="digits")


def test_what_compresses_well_is_simple():
    flat, noise = (
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8) * 37,
    )
    assert complexity(flat) < complexity(noise)


@pytest.mark.parametrize("num_shards", [2, 64])
@pytest.mark.parametrize("out", ["noise", "shuffled", "smooth"])
def test_shards_change_nothing(num_shards, out):
    one, many = (score(gradients(130), rough, num_shards=n, out=out) for n in (1, num_shards))
    for name in one:
        assert many[name].value == pytest.approx(one[name].value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(one[name].standard_error, rel=1e-9)
