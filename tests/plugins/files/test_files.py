"""Files as people have them: whole, damaged, misnamed."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genpipe.data import RawData, Source, read_whole
from genpipe.errors import DataError
from genpipe.plugins.files import csv_table, fashion_mnist, idx, npz
from genpipe.plugins.files.config import CsvConfig, FashionMnistConfig, IdxConfig, NpzConfig

RNG = np.random.default_rng(0)


def built(module: Any, config: Any) -> RawData:
    """What a module builds, in memory."""
    data = module.build(config, 0)
    return read_whole(data) if isinstance(data, Source) else data


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


# -- npz ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "options", "shape", "levels", "dtype"),
    [
        (RNG.integers(0, 256, (9, 4, 5)).astype(np.uint8), {}, (1, 4, 5), 256, "uint8"),
        (RNG.integers(0, 256, (9, 4, 5, 3)).astype(np.uint8), {"channels_last": True}, (3, 4, 5), 256, "uint8"),
        (RNG.integers(0, 256, (9, 3, 4, 5)).astype(np.uint8), {}, (3, 4, 5), 256, "uint8"),
        (RNG.random((9, 4, 5)), {}, (1, 4, 5), None, "float32"),
        (RNG.integers(0, 17, (9, 4, 5)), {"levels": 17}, (1, 4, 5), 17, "uint8"),
        (RNG.integers(0, 1000, (9, 4, 5)), {"levels": 1000}, (1, 4, 5), 1000, "int32"),
        (RNG.normal(size=(9, 4)), {}, (4,), None, "float32"),
    ],
)
def test_archives_give_images_and_vectors(
    array: np.ndarray, options: dict[str, Any], shape: Any, levels: int | None, dtype: str, tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=array, labels=np.arange(9) % 2)
    raw = built(npz, NpzConfig(path=tmp_path / "a.npz", x="images", y="labels", limit=7, **options))
    assert raw.spec.shape == shape
    assert raw.spec.levels == levels
    assert raw.x.dtype == dtype
    assert raw.x.shape == (7, *shape)
    assert raw.y.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert raw.spec.num_classes == 2
    given = np.moveaxis(array, 3, 1) if options.get("channels_last") else array
    np.testing.assert_allclose(raw.x.reshape(7, -1), given[:7].reshape(7, -1), rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        ({"imgs": np.zeros((3, 2))}, {"x": "img"}, "no array 'img'; did you mean 'imgs'?"),
        ({"x": np.array([{"a": 1}, None], dtype=object)}, {}, "'x' holds Python objects, which are never read"),
        ({"x": np.array(["a", "b"])}, {}, "'x' has type <U1, expected numbers"),
        ({"x": np.zeros(3)}, {}, r"'x' has shape \(3,\), expected \(N, D\)"),
        (
            {"x": np.array([[1.0, 2.0], [np.nan, 0.0], [1.0, 1.0]])},
            {},
            "1 of 3 examples have NaN or infinity, first at 1",
        ),
        ({"x": np.zeros((3, 2, 2), dtype=np.int64)}, {}, "say how many levels there are"),
        ({"x": np.full((3, 2, 2), 1.5)}, {}, r"values in \[1.5, 1.5\], expected \[0.0, 1.0\]"),
        ({"x": np.full((3, 2, 2), 20)}, {"levels": 17}, r"values in \[20, 20\], expected 0 … 16"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2, dtype=int)}, {"y": "y"}, r"'y' has shape \(2,\) and type int64"),
        ({"x": np.zeros((3, 2)), "y": np.array([0, -1, 1])}, {"y": "y"}, "has the label -1"),
    ],
)
def test_archives_that_are_not_right_are_explained(
    arrays: dict[str, np.ndarray], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=says):
        built(npz, NpzConfig(path=tmp_path / "a.npz", **options))


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=RNG.normal(size=(50, 8)))
    content = (tmp_path / "a.npz").read_bytes()
    for damaged in (content[:100], b"", b"no archive", content[:60] + b"\x00" * 40 + content[100:]):
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"b\.npz is no NumPy archive, or is damaged"):
            built(npz, NpzConfig(path=tmp_path / "b.npz"))
    np.save(tmp_path / "c.npy", RNG.normal(size=(50, 8)))
    (tmp_path / "c.npy").write_bytes((tmp_path / "c.npy").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"c\.npy is no NumPy archive, or is damaged: an array ends early"):
        built(npz, NpzConfig(path=tmp_path / "c.npy"))


def test_a_single_array_is_read_and_so_is_an_archives_only_array_by_any_name(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(50, 8)), np.arange(50) % 3
    np.save(tmp_path / "a.npy", np.asfortranarray(x))
    np.savez(tmp_path / "b.npz", arr_0=x)
    np.savez(tmp_path / "c.npz", arr_0=x, y=y)
    for config in (
        NpzConfig(path=tmp_path / "a.npy"),
        NpzConfig(path=tmp_path / "b.npz"),
        NpzConfig(path=tmp_path / "c.npz", y="y"),
    ):
        raw = built(npz, config)
        assert np.array_equal(raw.x, x.astype(np.float32))
        assert (raw.y is None) == (config.y is None)
    for config in (NpzConfig(path=tmp_path / "c.npz"), NpzConfig(path=tmp_path / "b.npz", x="images")):
        with pytest.raises(DataError, match=f"has no array '{config.x}'; there is arr_0"):
            built(npz, config)
    np.save(tmp_path / "d.npy", np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(DataError, match="'x' holds Python objects, which are never read"):
        built(npz, NpzConfig(path=tmp_path / "d.npy"))
    with pytest.raises(DataError, match="has no array 'labels'; there is x"):
        built(npz, NpzConfig(path=tmp_path / "a.npy", y="labels"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"low": 0.0}, "low and high go together"),
        ({"low": 1.0, "high": 0.0}, "not below high"),
        ({"low": 0.0, "high": 1.0, "levels": 3}, "give one of the two"),
    ],
)
def test_ranges_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        NpzConfig(path=Path("a.npz"), **options)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "data.npz").touch()
    with pytest.raises(DataError, match=r"date\.npz does not exist; did you mean 'data\.npz'\?"):
        built(npz, NpzConfig(path=tmp_path / "date.npz"))
    with pytest.raises(DataError, match="there is no folder"):
        built(npz, NpzConfig(path=tmp_path / "no" / "data.npz"))
    with pytest.raises(DataError, match="did you mean"):
        npz.fingerprint(NpzConfig(path=tmp_path / "date.npz"))
    (tmp_path / "data.npz").unlink()
    with pytest.raises(DataError, match=r"has no file that ends in \.npz"):
        built(npz, NpzConfig(path=tmp_path))


# -- csv ------------------------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str, **options: Any) -> Any:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return built(csv_table, CsvConfig(path=tmp_path / "t.csv", **options))


def test_a_table_gives_columns_and_labels(tmp_path: Path) -> None:
    raw = table(tmp_path, "\ufeffa, b,kind\n1,2.5,cat\n-3,4e1,ant\n5,6,cat\n\n", label="kind")
    np.testing.assert_array_equal(raw.x, np.array([[1, 2.5], [-3, 40], [5, 6]], dtype=np.float32))
    assert raw.y.tolist() == [1, 0, 1]
    assert raw.spec.class_names == ("ant", "cat")
    chosen = table(tmp_path, "a;b;c\n1;2;3\n4;5;6\n7;8;9\n", columns=("c", "a"), delimiter=";", limit=2)
    assert chosen.x.tolist() == [[3, 1], [6, 4]]
    assert chosen.y is None


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    raw = table(tmp_path, "a,y\n1,10\n2,9\n3,2\n", label="y")
    assert raw.spec.class_names == ("2", "9", "10")
    assert raw.y.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("a,b\n1,2\n3,x\n", {}, "line 3, column 'b': 'x' is not a number"),
        ("a,b\n1,2\n3,\n", {}, "line 3, column 'b': an empty cell is not a number"),
        ("a,b\n1,nan\n3,4\n", {}, "line 2, column 'b': nan is not a finite number"),
        ("a,b\n1,2\n3,-inf\n", {}, "line 3, column 'b': -inf is not a finite number"),
        ("a,b\n1,2\n3\n", {}, "line 3: 1 cells, expected 2"),
        ("a,b\n1,2\n", {"columns": ("a", "bee")}, "no column 'bee'"),
        ("height,b\n1,2\n", {"label": "heigth"}, "no column 'heigth'; did you mean 'height'"),
        ("a,a\n1,2\n", {}, "2 columns named 'a'"),
        ("", {}, "is empty, expected a row of column names"),
        ("a,b\n1,2\n", {}, "1 example, expected at least 2"),
        ("a,b\n", {}, "0 examples"),
    ],
)
def test_tables_that_are_not_right_are_explained(text: str, options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        table(tmp_path, text, **options)


def test_bytes_that_are_no_text_are_explained(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="no CSV text in UTF-8"):
        built(csv_table, CsvConfig(path=tmp_path / "t.csv"))


# -- idx ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_idx_images_come_back(packed: bool, tmp_path: Path) -> None:
    images, labels = RNG.integers(0, 256, (12, 5, 7)), np.arange(12) % 3
    for name, array in (("images", images), ("labels", labels)):
        content = idx_bytes(array)
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    raw = built(idx, IdxConfig(images=tmp_path / "images", labels=tmp_path / "labels", limit=10)).checked()
    np.testing.assert_array_equal(raw.x[:, 0], images[:10])
    np.testing.assert_array_equal(raw.y, labels[:10])
    assert raw.spec.num_classes == 3
    assert built(idx, IdxConfig(images=tmp_path / "images")).y is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes, too few"),
        (idx_bytes(np.zeros((3, 2, 2)))[:-1], "holds 11 values, its header says 3 × 2 × 2: truncated"),
        (idx_bytes(np.zeros((3, 2, 2))) + b"x", "holds 13 values"),
        (idx_bytes(np.zeros(3)) + b"\0" * 20, "begins with 0x00000801, expected 0x00000803"),
        (b"\x89PNG" + b"\0" * 30, "begins with 0x89504e47"),
        (gzip.compress(bytes.fromhex("00000803 00000001 ffffffff ffffffff")), "says images of 4294967295 × 4294967295"),
        (gzip.compress(idx_bytes(np.zeros((3, 2, 2))))[:-9], "is damaged"),
        (gzip.compress(idx_bytes(RNG.integers(0, 256, (30, 9, 9))))[:40] + b"\0" * 50, "is damaged"),
    ],
    ids=["empty", "cut", "long", "one_dimension", "a_picture", "boastful", "cut_archive", "torn_archive"],
)
def test_idx_files_that_are_not_right_are_explained(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DataError, match=says):
        built(idx, IdxConfig(images=tmp_path / "images"))


def test_labels_must_be_as_many_as_images(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx_bytes(np.zeros((3, 2, 2))))
    (tmp_path / "labels").write_bytes(idx_bytes(np.zeros(4)))
    with pytest.raises(DataError, match=r"4 labels, .* has 3 images"):
        built(idx, IdxConfig(images=tmp_path / "images", labels=tmp_path / "labels"))


# -- Fashion-MNIST --------------------------------------------------------------------------------------------


def four_files(folder: Path, suffix: str = ".gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, num in (("train", 20), ("t10k", 10)):
        for kind, array in (
            ("images-idx3", RNG.integers(0, 256, (num, 28, 28))),
            ("labels-idx1", np.arange(num) % 10),
        ):
            content = idx_bytes(array)
            path = folder / f"{part}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_the_folder_is_the_option_or_the_variable(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    four_files(tmp_path / "fashion-mnist", suffix)
    monkeypatch.delenv("GENPIPE_DATA", raising=False)
    given = built(fashion_mnist, FashionMnistConfig(folder=tmp_path / "fashion-mnist"))
    assert given.x.shape == (30, 1, 28, 28)
    assert built(fashion_mnist, FashionMnistConfig(folder=tmp_path / "fashion-mnist", part="test")).x.shape[0] == 10
    for place in (tmp_path, tmp_path / "fashion-mnist"):
        monkeypatch.setenv("GENPIPE_DATA", str(place))
        np.testing.assert_array_equal(built(fashion_mnist, FashionMnistConfig()).x, given.x)


def test_where_it_is_not_found_the_places_and_remedies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPIPE_DATA", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", str(tmp_path / "debian"))
    with pytest.raises(DataError) as error:
        built(fashion_mnist, FashionMnistConfig())
    for part in (str(tmp_path), str(tmp_path / "debian"), "GENPIPE_DATA", "dataset-fashion-mnist", "folder"):
        assert part in str(error.value)
    four_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"has no t10k-labels-idx1-ubyte\.gz"):
        built(fashion_mnist, FashionMnistConfig())


def test_the_real_fashion_mnist_is_read_whole() -> None:
    root = Path(os.environ.get("GENPIPE_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    folder = root / "fashion-mnist"
    if not folder.is_dir():
        pytest.skip(f"no Fashion-MNIST in {folder}: set GENPIPE_TEST_DATA to the folder that holds fashion-mnist/")
    raw = built(fashion_mnist, FashionMnistConfig(folder=folder, part="test"))
    assert raw.x.shape == (10_000, 1, 28, 28)
    assert np.bincount(raw.y).tolist() == [1000] * 10
    assert raw.x.mean() == pytest.approx(73.15, abs=0.05)
