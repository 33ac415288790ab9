"""Samples of other programs: what is taken, what is converted, and what is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genpipe.artifacts import read_manifest
from genpipe.errors import DataError, RecipeError
from tests.pipelines.conftest import run_stage

RNG = np.random.default_rng(0)
Take = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets to hold samples against: 17 grey levels, 256 colour levels, real images, points."""
    folder = tmp_path_factory.mktemp("data")
    arrays = {
        "colour": RNG.integers(0, 256, (60, 3, 5, 6)).astype(np.uint8),
        "real": RNG.uniform(-1, 1, (60, 1, 5, 6)),
        "table": RNG.normal(size=(60, 4)) * [1, 10, 100, 1] + 3,
    }
    made = {"digits": run_stage(folder, "data", {"dataset": {"name": "digits", "limit": 400}})}
    for name, x in arrays.items():
        np.savez(folder / f"{name}.npz", x=x)
        bounds = {"low": -1.0, "high": 1.0} if name == "real" else {}
        made[name] = run_stage(folder, "data", {"dataset": {"name": "npz", "path": folder / f"{name}.npz", **bounds}})
    return made


@pytest.fixture
def take(tmp_path: Path, data: dict[str, Path]) -> Take:
    """`take(x, reference, **options)` imports an array (or what `source` reads) and gives the artifact."""

    def imported(x: Any = None, reference: str = "digits", source: Any = None, **options: Any) -> Path:
        if source is None:
            np.savez(tmp_path / "theirs.npz", x=x)
            source = {"name": "npz", "path": tmp_path / "theirs.npz"}
        return run_stage(tmp_path, "import_samples", {"source": source, **options}, {"data": data[reference]})

    return imported


def in_their_order(folder: Path) -> np.ndarray[Any, Any]:
    """The samples as they lay in the files."""
    samples, order = np.load(folder / "samples.npy"), np.load(folder / "order.npy")
    restored = np.empty_like(samples)
    restored[order] = samples
    return restored


def notes(folder: Path) -> list[str]:
    return list(read_manifest(folder).summary["notes"])


def levels(num: int, shape: tuple[int, ...] = (1, 8, 8), most: int = 16) -> np.ndarray[Any, Any]:
    return RNG.integers(0, most + 1, (num, *shape))


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64"])
def test_whole_numbers_are_taken_from_any_type_that_holds_them(take: Take, kind: str) -> None:
    x = levels(50)
    folder = take(x.astype(kind))
    assert np.array_equal(in_their_order(folder), x)
    assert np.load(folder / "samples.npy").dtype == np.uint8
    assert notes(folder) == []


def test_samples_sorted_by_class_are_taken_in_an_order_of_which_any_part_is_fair(take: Take) -> None:
    x = np.repeat(np.arange(10), 40)[:, None, None, None] + np.zeros((400, 1, 8, 8), dtype=np.uint8)
    first = np.load(take(x) / "samples.npy")[:100, 0, 0, 0]
    assert np.bincount(first, minlength=10).min() >= 3


@pytest.mark.parametrize("given", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_range_that_is_named_becomes_the_references(take: Take, given: tuple[float, float]) -> None:
    x = levels(50)
    folder = take(given[0] + (given[1] - given[0]) * (x / 16) + RNG.uniform(0, 1e-3, x.shape) * (x < 16), range=given)
    assert np.array_equal(in_their_order(folder), x)
    assert "rounded to the nearest" in notes(folder)[0]


def test_real_images_are_converted_without_rounding(take: Take) -> None:
    x = RNG.uniform(0, 1, (50, 1, 5, 6))
    folder = take(x, "real", range=(0.0, 1.0))
    assert np.allclose(in_their_order(folder), 2 * x - 1, atol=1e-6)


def test_what_lies_outside_a_range_is_clipped_where_asked_and_counted(take: Take) -> None:
    x = levels(50) / 16
    x[7, 0, 0, 0] = 1.25
    with pytest.raises(DataError, match=r"1 of 50 samples \(first: 7\) have values outside samples\.range, \[0, 1\]"):
        take(x, range=(0.0, 1.0))
    folder = take(x, range=(0.0, 1.0), clip=True)
    assert in_their_order(folder)[7, 0, 0, 0] == 16
    assert "1 of their 3200 values lay outside that range and were set to its ends." in notes(folder)


def test_grey_images_in_three_channels_and_flat_ones_find_their_shape(take: Take) -> None:
    x = levels(50)
    assert np.array_equal(in_their_order(take(np.repeat(x, 3, axis=1))), x)
    assert np.array_equal(in_their_order(take(x.reshape(50, 64), reshape=True)), x)


def test_a_folder_of_images_is_read(take: Take, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    x = RNG.integers(0, 256, (30, 5, 6, 3)).astype(np.uint8)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / "images" / f"{i:03d}.png")
    folder = take(reference="colour", source={"name": "image_folder", "path": tmp_path / "images"})
    assert np.array_equal(in_their_order(folder), x.transpose(0, 3, 1, 2))
    assert (folder / "grid.png").is_file()


def test_a_table_is_read(take: Take, tmp_path: Path) -> None:
    x = RNG.normal(size=(30, 4))
    np.savetxt(tmp_path / "rows.csv", x, delimiter=",", header="a,b,c,d", comments="")
    folder = take(reference="table", source={"name": "csv", "path": tmp_path / "rows.csv"})
    assert np.allclose(in_their_order(folder), x, rtol=1e-6)


NAN, INF = levels(50).astype(float), levels(50).astype(float)
NAN[3, 0, 1, 1], NAN[9, 0, 0, 0], INF[4, 0, 2, 2] = np.nan, np.nan, -np.inf


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (levels(50, most=255), r"values are in \[0, 255\], expected whole numbers 0 … 16.*samples\.range=\[0,255\]"),
        (
            levels(50) / 16,
            r"in \[0, 1\], expected whole numbers 0 … 16; if \[0,1\] stands for .* samples\.range=\[0,1\]",
        ),
        (levels(50) / 8 - 1, r"in \[-1, 1\], expected .* samples\.range=\[-1,1\]"),
        (levels(50) > 8, r"has type bool, expected numbers"),
        ((levels(50) > 8).astype(np.uint8), r"in \[0, 1\], a small part of whole numbers 0 … 16"),
        (levels(50) * 0.9, r"values that are not whole, expected whole numbers 0 … 16: samples\.range=\[0,16\] rounds"),
        (levels(50) * 40.0, r"samples\.range=\[0,640\]"),
        (NAN, r"2 of 50 samples \(first: 3\) have NaN or infinity"),
        (INF, r"1 of 50 samples \(first: 4\) have NaN or infinity"),
        (levels(1), "there is 1 sample, expected at least 2"),
        (levels(0), "there are no samples"),
        (np.full((50, 1, 8, 8), 3), "all samples are the same, number for number"),
        (levels(50, (64,)), r"shape \(64,\), expected \(1, 8, 8\): as many numbers; set samples\.reshape=true"),
        (levels(50, (63,)), r"shape \(63,\), expected \(1, 8, 8\)$"),
        (levels(50, (1, 9, 9)), r"shape \(1, 9, 9\), .*samples\.size=8"),
        (levels(50, (8, 8, 1)), r"channels seem to come last; set samples\.channels_last=true"),
        (levels(50, (3, 8, 8)), r"in colour, 'digits' is grey; .*samples\.mode=L"),
        (levels(50, (2, 8, 8)), "the number of channels differs"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_do(take: Take, x: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        take(x)


def test_all_that_is_wrong_is_told_at_once(take: Take) -> None:
    x = 255 * RNG.uniform(size=(50, 9, 9))
    x[3] = np.nan
    with pytest.raises(DataError) as error:
        take(x)
    assert str(error.value).startswith("samples 'theirs' are not of the kind of 'digits', images of shape (1, 8, 8):")
    for said in ("(1, 9, 9)", "1 of 50 samples (first: 3) have NaN", "expected whole numbers 0 … 16"):
        assert said in str(error.value)


def test_options_that_mean_nothing_are_told(take: Take) -> None:
    with pytest.raises(DataError, match="no range to bring it to"):
        take(RNG.normal(size=(50, 4)), "table", range=(0.0, 1.0))
    with pytest.raises(RecipeError, match="clip is given without range"):
        take(levels(50), clip=True)
    with pytest.raises(RecipeError, match="the first below the second"):
        take(levels(50), range=(1.0, 0.0))


def test_pickled_arrays_are_refused(take: Take, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(DataError, match="holds Python objects, which are never read"):
        take(source={"name": "npz", "path": tmp_path / "objects.npy"})
