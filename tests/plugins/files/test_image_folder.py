"""Folders of images as people have them: labelled or not, of many formats and sizes, damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genpipe.data import read_whole
from genpipe.errors import DataError
from genpipe.plugins.files import image_folder, images
from genpipe.plugins.files.config import ImageFolderConfig
from tests.plugins.files.making import encoded, whole

RNG = np.random.default_rng(0)


def pictures(num: int, height: int = 5, width: int = 4) -> np.ndarray:
    return RNG.integers(0, 256, (num, height, width, 3)).astype(np.uint8)


def config(path: Path, **options: Any) -> ImageFolderConfig:
    return ImageFolderConfig(path=path, **options)


def test_folders_are_labels_and_pixels_come_back(tmp_path: Path) -> None:
    x = pictures(6)
    for i, picture in enumerate(x):
        folder = tmp_path / ("10", "9")[i % 2] / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.{('png', 'BMP', 'tif')[i % 3]}").write_bytes(encoded(picture, ("PNG", "BMP", "TIFF")[i % 3]))
    raw = whole(image_folder, config(tmp_path))
    assert raw.spec.class_names == ("9", "10")
    assert raw.spec.levels == 256
    assert raw.y is not None
    np.testing.assert_array_equal(raw.x, np.concatenate([x[::2], x[1::2]]).transpose(0, 3, 1, 2))
    assert raw.y.tolist() == [1, 1, 1, 0, 0, 0]
    assert whole(image_folder, config(tmp_path, labels=None)).y is None


def test_images_of_one_folder_have_no_labels(tmp_path: Path) -> None:
    for i, picture in enumerate(pictures(3)):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture))
    (tmp_path / "notes.txt").touch()
    raw = whole(image_folder, config(tmp_path, mode="L"))
    assert raw.y is None
    assert raw.spec.num_classes is None
    assert raw.x.shape == (3, 1, 5, 4)


def test_a_loose_image_among_labelled_ones_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("cat/a.png", "loose.png"):
        (tmp_path / name).write_bytes(encoded(pictures(1)[0]))
    with pytest.raises(DataError, match=r"loose\.png lies in no folder .* as cat/a\.png does; .*labels: null"):
        whole(image_folder, config(tmp_path))


def test_images_of_unequal_sizes_are_refused_with_the_first_that_differs(tmp_path: Path) -> None:
    for name, size in (("a.png", (6, 8)), ("b.png", (6, 8)), ("c.png", (7, 8)), ("d.png", (1, 1))):
        (tmp_path / name).write_bytes(encoded(pictures(1, *size)[0]))
    with pytest.raises(DataError, match=r"c\.png is 7 × 8 pixels, .*a\.png is 6 × 8: set .* size: 6"):
        whole(image_folder, config(tmp_path))
    assert whole(image_folder, config(tmp_path, size=4)).x.shape == (4, 3, 4, 4)
    assert whole(image_folder, config(tmp_path, size=(2, 3))).x.shape == (4, 3, 2, 3)


@pytest.mark.parametrize("size", [0, True, 2.5, "32", [32], [32, 0], [1, 2, 3], 10**9])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(
        ValueError, match=r"expected a whole number from 1 to 16,384, or two of them, \[height, width\]"
    ):
        config(Path("a"), size=size)


def test_parts_that_differ_are_refused_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "IMAGES_IN_PART", 1)
    for name, size in (("a.png", (6, 8)), ("b.png", (7, 8))):
        (tmp_path / name).write_bytes(encoded(pictures(1, *size)[0]))
    with pytest.raises(DataError, match=r"b\.png is 7 × 8 pixels, .*a\.png is 6 × 8"):
        whole(image_folder, config(tmp_path))


def test_the_middle_is_cut_and_scaled_without_aliasing(tmp_path: Path) -> None:
    # Columns of black and white one pixel wide: their mean is grey, a scaling that picks pixels gives one of the two.
    stripes = np.zeros((64, 192, 3), np.uint8)
    stripes[:, 64:128:2] = 255
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(encoded(stripes))
    x = whole(image_folder, config(tmp_path, size=8)).x
    assert x.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(x[:, :, :, 1:-1], 127, atol=10)


def test_an_image_of_the_wanted_size_is_not_touched(tmp_path: Path) -> None:
    x = pictures(2, 8, 8)
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(encoded(x[i]))
    np.testing.assert_array_equal(whole(image_folder, config(tmp_path, size=8)).x, x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "PPM"])
def test_formats_are_told_by_content(kind: str, tmp_path: Path) -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(encoded(flat, kind))
    np.testing.assert_allclose(whole(image_folder, config(tmp_path)).x, 90, atol=3)


def test_a_photograph_is_seen_upright_and_so_is_its_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    lying = np.zeros((4, 8, 3), np.uint8)
    lying[:, :4] = 255
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(encoded(lying, "JPEG", exif=exif, quality=100))
    x = whole(image_folder, config(tmp_path)).x
    assert x.shape == (2, 3, 8, 4)
    np.testing.assert_allclose(x[:, :, :4], 255, atol=3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no image in PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n", "is no image in PNG, JPEG"),
        (encoded(pictures(1)[0])[:60], "is damaged"),
    ],
)
def test_damaged_images_are_named_or_left_out(
    content: bytes, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = pictures(2)
    for name, whole_file in (("a.png", encoded(x[0])), ("b.png", content), ("c.png", encoded(x[1]))):
        (tmp_path / name).write_bytes(whole_file)
    for options in ({}, {"size": 4}):
        with pytest.raises(DataError, match=rf"b\.png {says}"):
            whole(image_folder, config(tmp_path, **options))
    with caplog.at_level(logging.WARNING):
        raw = whole(image_folder, config(tmp_path, on_error="skip"))
    np.testing.assert_array_equal(raw.x, x.transpose(0, 3, 1, 2))
    assert len(caplog.records) == 1
    assert "1 of 3 images left out: " in caplog.text
    assert "b.png" in caplog.text


def test_sixteen_bits_and_images_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png has pixels of type I;16, expected 8 bits a channel"):
        whole(image_folder, config(tmp_path))
    (tmp_path / "a.png").write_bytes(encoded(pictures(1, 40, 40)[0]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png is damaged: .*decompression bomb"):
        whole(image_folder, config(tmp_path))


def test_with_a_size_given_the_survey_opens_nothing(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"")
    source = image_folder.build(config(tmp_path, size=4), 0)
    assert [source.survey(part)["num"] for part in source.parts] == [3]


def test_examples_are_the_same_however_they_are_cut_into_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, picture in enumerate(pictures(7)):
        (tmp_path / f"k{i % 3}").mkdir(exist_ok=True)
        (tmp_path / f"k{i % 3}" / f"{i}.png").write_bytes(encoded(picture))
    expected = whole(image_folder, config(tmp_path))
    for count in (1, 2, 3):
        monkeypatch.setattr(image_folder, "IMAGES_IN_PART", count)
        source = image_folder.build(config(tmp_path), 0)
        assert len(source.parts) == -(-7 // count)
        raw = read_whole(source)
        np.testing.assert_array_equal(raw.x, expected.x)
        np.testing.assert_array_equal(raw.y, expected.y)
        assert raw.spec == expected.spec
