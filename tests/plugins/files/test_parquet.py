"""Parquet tables as people have them: columns of numbers, lists, bytes, encoded images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from genpipe.data import read_whole
from genpipe.data.shard import write_shard
from genpipe.errors import DataError
from genpipe.plugins.files import parquet
from genpipe.plugins.files.config import ParquetConfig
from tests.plugins.files.making import encoded, whole, write_parquet

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (7, 4, 5, 3)).astype(np.uint8)
KINDS = ["cat", "ant", "cat", "bee", "bee", "ant", "cat"]


def config(path: Path, **options: Any) -> ParquetConfig:
    return ParquetConfig(path=path, **options)


def test_columns_of_numbers_are_vectors(tmp_path: Path) -> None:
    a, b = RNG.normal(size=7), RNG.integers(0, 9, 7).astype(np.int16)
    write_parquet(tmp_path / "t.parquet", {"kind": KINDS, "a": a, "b": b}, rows=3)
    raw = whole(parquet, config(tmp_path, label="kind"))
    np.testing.assert_array_equal(raw.x, np.stack([a, b], axis=1).astype(np.float32))
    assert raw.spec.class_names == ("ant", "bee", "cat")
    assert raw.y is not None
    assert [raw.spec.class_names[k] for k in raw.y] == KINDS
    assert len(parquet.build(config(tmp_path, label="kind"), 0).parts) == 3
    assert whole(parquet, config(tmp_path, columns=("b",))).x.shape == (7, 1)


@pytest.mark.parametrize(
    ("column", "options", "shape", "levels"),
    [
        (pa.array(list(X.reshape(7, -1))), {}, (60,), None),
        (pa.array(list(X.reshape(7, -1))), {"shape": (3, 4, 5)}, (3, 4, 5), 256),
        (pa.array(X.reshape(7, 12, 5).tolist(), pa.list_(pa.list_(pa.uint8()))), {}, (1, 12, 5), 256),
        (pa.array(X.tolist(), pa.list_(pa.list_(pa.list_(pa.int64())))), {"levels": 256}, (4, 5, 3), 256),
        (pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 60), {"levels": 256}, (60,), 256),
        (pa.array([x.tobytes() for x in X]), {"shape": (3, 4, 5)}, (3, 4, 5), 256),
        (pa.array([x.tobytes() for x in X], pa.binary(60)), {"shape": (60,), "levels": 256}, (60,), 256),
    ],
)
def test_lists_and_bytes_are_vectors_or_images(
    column: pa.Array, options: dict[str, Any], shape: tuple[int, ...], levels: int | None, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "t.parquet", {"x": column}, rows=2)
    raw = whole(parquet, config(tmp_path, **options))
    assert raw.spec.shape == shape
    assert raw.spec.levels == levels
    np.testing.assert_array_equal(raw.x.reshape(7, -1), X.reshape(7, -1))


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_encoded_images_are_decoded(form: str, tmp_path: Path) -> None:
    packed = [encoded(x) for x in X]
    column = packed if form == "bytes" else [{"bytes": b, "path": None} for b in packed]
    write_parquet(tmp_path / "a.parquet", {"image": column[:3], "label": [1, 0, 1]}, rows=2)
    write_parquet(tmp_path / "b.parquet", {"image": column[3:], "label": [5, 5, 0, 1]}, rows=2)
    raw = whole(parquet, config(tmp_path, label="label"))
    np.testing.assert_array_equal(raw.x, X.transpose(0, 3, 1, 2))
    assert raw.spec.class_names == ("0", "1", "5")
    assert raw.y is not None
    assert raw.y.tolist() == [1, 0, 1, 2, 2, 0, 1]
    assert whole(parquet, config(tmp_path, columns=("image",), size=3, mode="L")).x.shape == (7, 1, 3, 3)


def test_integers_have_the_names_that_the_table_gives_them(tmp_path: Path) -> None:
    table = pa.table({"image": [encoded(x) for x in X], "label": [0, 1, 2, 0, 1, 2, 0]})
    features = {"info": {"features": {"label": {"names": ["shoe", "bag", "hat"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "t.parquet")
    raw = whole(parquet, config(tmp_path, label="label"))
    assert raw.y is not None
    assert [raw.spec.class_names[k] for k in raw.y] == ["shoe", "bag", "hat", "shoe", "bag", "hat", "shoe"]


def test_many_files_are_a_part_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        write_parquet(tmp_path / f"{i}.parquet", {"a": np.arange(4.0) + 10 * i}, rows=2)
    by_group = parquet.build(config(tmp_path), 0)
    assert len(by_group.parts) == 6
    monkeypatch.setattr(parquet, "PART_PER_FILE", 3)
    by_file = parquet.build(config(tmp_path), 0)
    assert len(by_file.parts) == 3
    np.testing.assert_array_equal(read_whole(by_group).x, read_whole(by_file).x)


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"height": [1.0, 2.0]}, {"columns": ("heigth",)}, "has no column 'heigth'; did you mean 'height'"),
        ({"a": [1.0, 2.0]}, {"label": "b"}, "has no column 'b'; there is a"),
        ({"a": [1.0, 2.0]}, {"label": "a"}, "has no column but the label 'a'"),
        ({"a": [1.0, 2.0], "when": ["x", "y"]}, {}, "column 'when' is of type string, expected numbers"),
        ({"a": [1.0, None]}, {}, "row 1, column 'a': nothing, expected a value"),
        ({"a": [[1, 2], [3]]}, {}, "row 1, column 'a': 1 numbers, expected 2"),
        ({"a": [[1, 2], [3, None]]}, {}, "row 1, column 'a': holds nothing at 1"),
        ({"a": [[1, 2], [3, 4]]}, {"shape": (1, 1, 3)}, r"holds \(2,\) numbers a row, which is not shape \(1, 1, 3\)"),
        ({"a": [b"12", b"1"]}, {"shape": (1, 1, 2)}, "row 1, column 'a': 1 bytes, expected 2"),
        ({"a": [b"12", b"1"]}, {}, "row 0, column 'a' is no image in PNG"),
        ({"a": [{"bytes": None, "path": "x.png"}]}, {}, "row 0, column 'a': only the path of an image"),
        ({"a": [1.0, 2.0], "b": [[1], [2]]}, {}, "columns a, b cannot be one example, as 'b' holds lists"),
        ({"a": [1.0, 2.0], "k": ["x", None]}, {"label": "k"}, "row 1, column 'k': None is no label"),
        ({"a": [1.0, 2.0], "k": [0.5, 1.0]}, {"label": "k"}, "row 0, column 'k': 0.5 is no label"),
        ({"a": np.zeros((0,))}, {}, "has no rows"),
    ],
)
def test_tables_that_are_not_right_are_explained(
    columns: dict[str, Any], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "t.parquet", columns)
    with pytest.raises(DataError, match=says):
        whole(parquet, config(tmp_path, **options))


def test_tables_that_differ_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"a": [[1.0, 2.0]]})
    write_parquet(tmp_path / "b.parquet", {"a": [[1.0]]})
    with pytest.raises(DataError, match=r"b\.parquet has examples of shape \[1\], expected \[2\] as in .*a\.parquet"):
        whole(parquet, config(tmp_path))
    write_parquet(tmp_path / "b.parquet", {"a": [encoded(X[0])]})
    with pytest.raises(DataError, match=r"b\.parquet"):
        whole(parquet, config(tmp_path))


@pytest.mark.parametrize("labelled", [True, False])
def test_shards_of_our_own_are_read_as_what_they_are(labelled: bool, tmp_path: Path) -> None:
    y = np.arange(7) % 3
    for number, rows in enumerate((slice(0, 4), slice(4, 7))):
        write_shard(tmp_path, f"{number:05d}.parquet", X[rows].transpose(0, 3, 1, 2), y[rows] if labelled else None)
    raw = whole(parquet, config(tmp_path))
    np.testing.assert_array_equal(raw.x, X.transpose(0, 3, 1, 2))
    assert raw.spec.levels == 256
    assert (raw.y is None) == (not labelled)
    if raw.y is not None:
        np.testing.assert_array_equal(raw.y, y)
    write_shard(tmp_path, "real.parquet", RNG.normal(size=(5, 6)).astype(np.float32), None)
    assert whole(parquet, config(tmp_path / "real.parquet")).x.shape == (5, 6)
