"""What holds for any content: it comes back, however it is cut into parts, and what is torn is said to be."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import parquet as pq

from genpipe.config import Config
from genpipe.data import RawData, Source
from genpipe.errors import DataError
from genpipe.plugins.files import blocks, csv_rows, csv_table, idx, image_folder, npz, parquet, webdataset
from genpipe.plugins.files.config import (
    CsvConfig,
    IdxConfig,
    ImageFolderConfig,
    NpzConfig,
    ParquetConfig,
    WebDatasetConfig,
)
from tests.plugins.files.making import encoded, whole

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(1, 4), st.integers(1, 4), st.just(3)))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TABLES = hnp.arrays(np.float32, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=FLOATS)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6)


def put(name: str, content: bytes) -> str:
    """An address in memory that holds the content."""
    fsspec.filesystem("memory").pipe(f"/properties/{name}", content)
    return f"memory://properties/{name}"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)  # so that examples lie in several


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def tar_bytes(x: np.ndarray, labels: list[str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i, label in enumerate(labels):
            for name, content in ((f"{i}.cls", label.encode()), (f"{i}.png", encoded(x[i]))):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def parquet_bytes(columns: dict[str, Any], rows: int) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, row_group_size=rows)
    return stream.getvalue()


def npz_bytes(packed: bool = False, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def csv_bytes(rows: list[list[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode()


def texts_of(raw: RawData) -> list[str]:
    assert raw.y is not None
    return [raw.spec.class_names[k] for k in raw.y]


# -- what was written comes back --------------------------------------------------------------------------------


@SETTINGS
@given(x=TABLES, data=st.data())
def test_tables_come_back(x: np.ndarray, data: st.DataObject) -> None:
    labels = data.draw(st.lists(TEXTS, min_size=len(x), max_size=len(x)))
    names = [f"c{i}" for i in range(x.shape[1])]
    rows = [[repr(float(v)) for v in row] + [label] for row, label in zip(x, labels, strict=True)]
    raw = whole(csv_table, CsvConfig(path=put("t.csv", csv_bytes([[*names, "label"], *rows])), label="label"))
    np.testing.assert_array_equal(raw.x, x)
    assert texts_of(raw) == [label.strip() for label in labels]
    table = parquet_bytes({**dict(zip(names, x.T, strict=True)), "label": labels}, data.draw(st.integers(1, 5)))
    raw = whole(parquet, ParquetConfig(path=put("t.parquet", table), label="label"))
    np.testing.assert_array_equal(raw.x, x)
    assert texts_of(raw) == [label.strip() for label in labels]


@SETTINGS
@given(x=IMAGES, data=st.data())
def test_images_come_back_from_arrays(x: np.ndarray, data: st.DataObject) -> None:
    y = data.draw(hnp.arrays(np.uint8, len(x)))
    grey, pack = np.ascontiguousarray(x[..., 0]), data.draw(st.sampled_from([bytes, gzip.compress]))
    paths = put("images", pack(idx_bytes(grey))), put("labels", pack(idx_bytes(y)))
    raw = whole(idx, IdxConfig(images=paths[0], labels=paths[1]))
    np.testing.assert_array_equal(raw.x[:, 0], grey)
    np.testing.assert_array_equal(raw.y, y)
    order = data.draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
    archive = npz_bytes(data.draw(st.booleans()), x=order(x), y=y)
    raw = whole(npz, NpzConfig(path=put("a.npz", archive), y="y", channels_last=True))
    np.testing.assert_array_equal(raw.x, x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(raw.y, y)


@SETTINGS
@given(x=IMAGES, data=st.data())
def test_encoded_images_come_back(x: np.ndarray, data: st.DataObject) -> None:
    labels = data.draw(st.lists(TEXTS.map(str.strip), min_size=len(x), max_size=len(x)))
    raw = whole(webdataset, WebDatasetConfig(path=put("t.tar", tar_bytes(x, labels)), label="cls"))
    np.testing.assert_array_equal(raw.x, x.transpose(0, 3, 1, 2))
    assert texts_of(raw) == labels
    table = parquet_bytes({"image": [encoded(one) for one in x], "k": labels}, data.draw(st.integers(1, 5)))
    raw = whole(parquet, ParquetConfig(path=put("i.parquet", table), label="k"))
    np.testing.assert_array_equal(raw.x, x.transpose(0, 3, 1, 2))
    assert texts_of(raw) == labels


# -- the same for any cut into parts, and in another process ------------------------------------------------------


@SETTINGS
@given(x=TABLES, data=st.data())
def test_examples_are_the_same_however_they_are_cut_into_files(x: np.ndarray, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(["a", "b", "10", "9"]), min_size=len(x), max_size=len(x)))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4))), len(x)]
    system = fsspec.filesystem("memory")
    for folder in ("/properties/csvs", "/properties/tables"):
        if system.exists(folder):
            system.rm(folder, recursive=True)
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        rows = [[*map(repr, map(float, x[i])), labels[i]] for i in range(start, stop)]
        put(f"csvs/{k}.csv", csv_bytes([[*(f"c{i}" for i in range(x.shape[1])), "label"], *rows]))
        columns = {f"c{i}": x[start:stop, i] for i in range(x.shape[1])}
        put(f"tables/{k}.parquet", parquet_bytes({**columns, "label": pa.array(labels[start:stop], pa.string())}, 3))
    for module, config in (
        (csv_table, CsvConfig(path="memory://properties/csvs", label="label")),
        (parquet, ParquetConfig(path="memory://properties/tables", label="label")),
    ):
        raw = whole(module, config)
        np.testing.assert_array_equal(raw.x, x)
        assert texts_of(raw) == labels


def attempt(read: Callable[[], Any]) -> tuple[Any, str | None]:
    """What reading gives, or the DataError's text; any other error passes."""
    try:
        return read(), None
    except DataError as error:
        return None, str(error)


def every_format(folder: Path) -> list[tuple[str, Any, Config]]:
    """(name, module, config) of a small data set of each format."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (6, 4, 5, 3)).astype(np.uint8), np.arange(6, dtype=np.uint8) % 3
    texts = [f"k{i}" for i in y]
    rows = [[f"{a:.3f}", f"{b:.3f}", text] for (a, b), text in zip(rng.normal(size=(6, 2)), texts, strict=True)]
    for i, one in enumerate(x):
        (folder / "images" / texts[i]).mkdir(parents=True, exist_ok=True)
        (folder / "images" / texts[i] / f"{i}.png").write_bytes(encoded(one))
    (folder / "t.csv").write_bytes(csv_bytes([["a", "b", "k"], *rows]))
    (folder / "x.idx").write_bytes(idx_bytes(np.ascontiguousarray(x[..., 0])))
    (folder / "x.idx.gz").write_bytes(gzip.compress(idx_bytes(np.ascontiguousarray(x[..., 0]))))
    (folder / "y.idx").write_bytes(idx_bytes(y))
    (folder / "a.npz").write_bytes(npz_bytes(x=x, y=y))
    (folder / "c.npz").write_bytes(npz_bytes(True, x=x, y=y))
    (folder / "t.tar").write_bytes(tar_bytes(x, texts))
    (folder / "t.tar.gz").write_bytes(gzip.compress(tar_bytes(x, texts)))
    (folder / "i.parquet").write_bytes(parquet_bytes({"image": [encoded(one) for one in x], "k": texts}, 4))
    (folder / "n.parquet").write_bytes(parquet_bytes({"x": list(x.reshape(6, -1)), "k": texts}, 4))
    return [
        ("images/k0/0.png", image_folder, ImageFolderConfig(path=folder / "images")),
        ("t.csv", csv_table, CsvConfig(path=folder / "t.csv", label="k")),
        ("x.idx", idx, IdxConfig(images=folder / "x.idx", labels=folder / "y.idx")),
        ("x.idx.gz", idx, IdxConfig(images=folder / "x.idx.gz")),
        ("y.idx", idx, IdxConfig(images=folder / "x.idx", labels=folder / "y.idx")),
        ("a.npz", npz, NpzConfig(path=folder / "a.npz", y="y", channels_last=True)),
        ("c.npz", npz, NpzConfig(path=folder / "c.npz", y="y", channels_last=True)),
        ("t.tar", webdataset, WebDatasetConfig(path=folder / "t.tar", label="cls")),
        ("t.tar.gz", webdataset, WebDatasetConfig(path=folder / "t.tar.gz", label="cls")),
        ("i.parquet", parquet, ParquetConfig(path=folder / "i.parquet", label="k")),
        ("n.parquet", parquet, ParquetConfig(path=folder / "n.parquet", label="k", levels=256)),
    ]


@pytest.mark.parametrize("number", range(11))
def test_a_source_crosses_to_other_processes_and_reads_parts_in_any_order(number: int, tmp_path: Path) -> None:
    name, module, config = every_format(tmp_path)[number]
    expected = whole(module, config)
    source: Source = module.build(config, 0)
    parts, sent = list(source.parts), pickle.loads(pickle.dumps(source))
    order = range(len(parts) - 1, -1, -1)
    surveys = {k: sent.survey(parts[k]) for k in order}
    spec = sent.spec([surveys[k] for k in range(len(parts))])
    found = {k: list(pickle.loads(pickle.dumps(sent)).read(parts[k], spec)) for k in order}
    given = np.concatenate([x for k in range(len(parts)) for x, _ in found[k]])
    np.testing.assert_array_equal(given.astype(spec.dtype), expected.x, err_msg=name)


@pytest.mark.parametrize("number", range(11))
def test_a_file_that_is_cut_anywhere_is_said_to_be(number: int, tmp_path: Path) -> None:
    name, module, config = every_format(tmp_path)[number]
    content, expected = (tmp_path / name).read_bytes(), whole(module, config)
    assert len(expected.x) == 6
    places = range(len(content)) if len(content) < 600 else sorted({*range(0, len(content), 97), len(content) - 1})
    for place in places:
        (tmp_path / name).write_bytes(content[:place])
        given, error = attempt(lambda: whole(module, config))
        if error is not None:
            assert str(tmp_path) in error or "0 examples" in error or "1 example," in error, f"cut at {place}: {error}"
        elif name == "t.csv":  # nothing tells where a table ends: its last row may be torn, the others are as they were
            np.testing.assert_array_equal(given.x[:-1], expected.x[: len(given.x) - 1])
        else:  # what is missing was an end mark, a checksum or padding
            np.testing.assert_array_equal(given.x, expected.x, err_msg=f"{name} cut at {place}")
            np.testing.assert_array_equal(given.y, expected.y)


@pytest.mark.parametrize("number", range(11))
def test_damage_is_a_data_error_or_no_damage(number: int, tmp_path: Path) -> None:
    name, module, config = every_format(tmp_path)[number]
    content, rng = (tmp_path / name).read_bytes(), np.random.default_rng(number)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / name).write_bytes(bytes(damaged))
        attempt(lambda: whole(module, config))


# -- two readers of CSV agree -----------------------------------------------------------------------------------


CELLS = st.one_of(
    FLOATS.map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["", " ", " 1", "1 ", "1_0", "+1", ".5", "5.", "1e5", "1E-3", "nan", "inf", "0x1", '"1"', "1e999"]),
    st.sampled_from(["x", '"a""b"', '"a\nb"', 'a"b', '"', "\t", "é", "-0"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"])
)
def test_arrow_takes_no_row_otherwise_than_python_does(rows: list[list[str]], end: str) -> None:
    address = put("odd.csv", (end.join(["a,b,k", *(",".join(row) for row in rows)]) + end).encode())
    config = CsvConfig(path=address, label="k")
    table = csv_rows.layout(address, config)

    def read(by_python: bool) -> Any:
        found = list(csv_rows._by_python(table, True, 0) if by_python else csv_rows.rows(table, numbers=True))
        return [row.tolist() for block in found for row in block.x], [k for block in found for k in block.labels or ()]

    assert attempt(lambda: read(by_python=False)) == attempt(lambda: read(by_python=True))
