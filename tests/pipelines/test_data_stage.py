import re

import numpy as np
import pytest
from PIL import Image

from genpipe.data import open_split
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, RecipeError


def archive(tmp_path, **arrays):
    np.savez(tmp_path / "examples.npz", **arrays)
    return {"name": "npz", "path": str(tmp_path / "examples.npz")}


def rows(num=100, columns=3):
    return np.random.default_rng(0).normal(size=(num, columns)) * 5 + 2


def test_splits_are_disjoint_whole_and_of_the_asked_sizes(stage, tmp_path):
    x = np.arange(200.0).reshape(100, 2)
    folder = stage("data", {"dataset": archive(tmp_path, x=x), "test_fraction": 0.3, "validation_fraction": 0.1})
    parts = [np.asarray(open_split(folder, name).x)[:, 0] for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [60, 10, 30]
    assert sorted(np.concatenate(parts)) == list(x[:, 0])


def test_what_extractors_train_on_is_taken_from_training_alone(stage, tmp_path):
    x = np.arange(200.0).reshape(100, 2)
    fractions = {"test_fraction": 0.3, "validation_fraction": 0.1}
    without = stage("data", {"dataset": archive(tmp_path, x=x), **fractions})
    folder = stage("data", {"dataset": archive(tmp_path, x=x), **fractions, "features_fraction": 0.25})
    for name in ("test", "validation"):
        np.testing.assert_array_equal(open_split(without, name).x, open_split(folder, name).x)
    trained_on, taken = (np.asarray(open_split(folder, name).x)[:, 0] for name in ("train", "features"))
    assert len(taken) == 25
    assert sorted([*trained_on, *taken]) == sorted(np.asarray(open_split(without, "train").x)[:, 0])


def test_labels_stay_with_their_examples(stage, tmp_path):
    x = rows()
    x[:, 0] = np.arange(100)
    folder = stage("data", {"dataset": {**archive(tmp_path, x=x, y=np.arange(100)), "y": "y"}})
    for name in ("train", "test"):
        split = open_split(folder, name)
        assert split.y[:].tolist() == split.x[:, 0].tolist()


def test_the_seed_alone_decides_the_split(stage, tmp_path):
    config = {"dataset": archive(tmp_path, x=rows())}
    first, again, other = (open_split(stage("data", config, seed=s), "test").x for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_statistics_are_those_of_the_training_split(stage, tmp_path):
    folder = stage("data", {"dataset": archive(tmp_path, x=rows())})
    spec, train = DataSpec.read(folder / "spec.json"), open_split(folder, "train").x[:].astype(np.float64)
    assert np.allclose(spec.mean, train.mean(axis=0), rtol=1e-12)
    assert np.allclose(spec.std, train.std(axis=0), rtol=1e-12)


def test_integer_images_keep_their_levels_and_type(stage):
    folder = stage("data", {"dataset": {"name": "digits", "limit": 50}})
    split = open_split(folder, "train")
    assert split.spec.levels == 17
    assert split.spec.mean is None
    assert split.x.dtype == np.uint8


def test_the_preview_shows_all_classes_of_a_set_that_is_sorted_by_class(stage, tmp_path):
    levels = np.repeat([10, 120, 250], 100).astype(np.uint8)
    folder = stage("data", {"dataset": archive(tmp_path, x=np.tile(levels[:, None, None], (1, 4, 4)))})
    preview = np.asarray(Image.open(folder / "preview.png").convert("L"))
    assert all(((preview > level - 5) & (preview < level + 5)).mean() > 0.1 for level in (10, 120, 250))


def test_limit_keeps_examples_chosen_by_hash(stage, tmp_path):
    x = np.arange(200.0).reshape(100, 2)
    folder = stage("data", {"dataset": archive(tmp_path, x=x), "limit": 20})
    kept = np.concatenate([open_split(folder, name).x[:, 0] for name in ("train", "test")])
    assert len(set(kept)) == 20
    assert kept.max() > 100  # not only from the front


def test_a_constant_column_is_named(stage, tmp_path):
    x = rows()
    x[:, 1] = 0.1
    with pytest.raises(DataError, match=r"1 of 3 columns are constant in the training split \(1\)"):
        stage("data", {"dataset": archive(tmp_path, x=x)})


def test_data_of_one_value_is_refused(stage, tmp_path):
    x = np.full((40, 1, 4, 4), 7, dtype=np.uint8)
    with pytest.raises(DataError, match="every value of the training split is 7, and there is nothing to learn from"):
        stage("data", {"dataset": archive(tmp_path, x=x)})


@pytest.mark.parametrize(
    ("values", "options", "doubt"),
    [
        (
            np.arange(17),
            {"levels": 256},
            "levels is 256, and the largest value of the training split is 16: are they 17",
        ),
        (
            np.linspace(0, 1, 17),
            {"low": 0, "high": 255},
            r"values in \[0, 1\] alone: are low and high those of the data",
        ),
        (np.arange(17), {"levels": 17}, None),
        (np.arange(200), {"levels": 256}, None),
        (np.linspace(0, 1, 17), {"low": -1, "high": 1}, None),
    ],
)
def test_levels_and_ranges_that_are_hardly_used_are_warned_of(stage, tmp_path, caplog, values, options, doubt):
    x = np.random.default_rng(0).permutation(np.tile(values, 80)).reshape(-1, 1, 4, 4)
    with caplog.at_level("WARNING", logger="genpipe.data"):
        stage("data", {"dataset": {**archive(tmp_path, x=x), **options}})
    assert bool(caplog.messages) == (doubt is not None)
    assert doubt is None or re.search(doubt, caplog.text)


def test_copies_of_one_example_are_warned_of(stage, tmp_path, caplog):
    one = np.random.default_rng(0).integers(0, 17, (1, 1, 4, 4)).astype(np.uint8)
    with caplog.at_level("WARNING", logger="genpipe.data"):
        stage("data", {"dataset": {**archive(tmp_path, x=np.repeat(one, 50, axis=0)), "levels": 17}})
    assert "all 40 examples of the training split are copies of one" in caplog.text


@pytest.mark.parametrize(("shared", "said"), [(0, False), (1e4, False), (1e6, True)])
def test_what_float32_tells_apart_badly_is_warned_of(stage, tmp_path, caplog, shared, said):
    with caplog.at_level("WARNING", logger="genpipe.data"):
        stage(
            "data",
            {"dataset": archive(tmp_path, x=np.random.default_rng(0).normal(size=(100, 2)) + np.array([0, shared]))},
        )
    assert bool(re.search("column 1 is 1e.06 with a deviation of 1. steps of float32", caplog.text)) == said


def test_what_float32_cannot_tell_apart_is_refused_with_the_reason(stage, tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 2)) + np.array([0, 1e8])
    with pytest.raises(DataError, match=r"\(1\) and carry no information.*float32, whose steps are 8 there: subtract"):
        stage("data", {"dataset": archive(tmp_path, x=x)})


def test_labels_of_one_class_are_warned_of(stage, tmp_path, caplog):
    y = np.full(100, 2)
    with caplog.at_level("WARNING", logger="genpipe.data"):
        folder = stage("data", {"dataset": {**archive(tmp_path, x=rows(), y=y), "y": "y"}})
    assert "all examples of the training split have the label" in caplog.text
    assert sorted(open_split(folder, "train").spec.class_fractions)[-1] == 1


def test_a_split_that_is_too_small_is_an_error(stage, tmp_path):
    with pytest.raises(DataError, match="the split 'test' has 1 of 10"):
        stage("data", {"dataset": archive(tmp_path, x=rows(10)), "test_fraction": 0.1})


def test_fractions_that_leave_nothing_are_a_mistake(stage):
    with pytest.raises(RecipeError, match="none are left to train"):
        stage("data", {"dataset": "digits", "test_fraction": 0.6, "validation_fraction": 0.4})


def test_a_preview_is_drawn(steps):
    assert (steps.data / "preview.png").read_bytes().startswith(b"\x89PNG")
