"""Splits at rest, against pyarrow's own readers."""

import pickle

import numpy as np
import pyarrow.dataset
import pyarrow.parquet
import pytest

from genpipe.data import ShardedArray, in_order, open_split, write_index
from genpipe.data import shard as shard_module
from genpipe.data import sharded_array as module
from genpipe.data.shard import write_shard
from genpipe.data.shard_writer import ShardWriter
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError

NUM = 103
IMAGES = DataSpec(name="images", event="image", shape=(3, 4, 5), levels=256, num_classes=10)
ROWS = DataSpec(name="rows", event="vector", shape=(7,))


def examples(spec):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (NUM, *spec.shape)) if spec.levels else rng.normal(size=(NUM, *spec.shape))
    return x.astype(spec.dtype), rng.integers(0, 10, NUM)


def write(folder, spec, x, y, blocks=(NUM,)):
    writer = ShardWriter(folder, "train", spec, len(x), labels=y is not None)
    for start, stop in zip([0, *np.cumsum(blocks)], [*np.cumsum(blocks), len(x)], strict=False):
        writer.write(x[start:stop], None if y is None else y[start:stop])
    writer.flush()
    write_index(folder, spec, {"train": writer.shards})
    return open_split(folder, "train")


@pytest.fixture(params=["one shard", "many shards"])
def shards(request, monkeypatch):
    if request.param == "many shards":
        monkeypatch.setattr(shard_module, "SHARD_BYTES", 1000)


@pytest.fixture(params=["loaded", "streamed"])
def residence(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(module, "LOADED_BYTES", 0)
        monkeypatch.setattr(module, "MAX_OPEN", 3)


@pytest.mark.usefixtures("shards", "residence")
@pytest.mark.parametrize("spec", [IMAGES, ROWS], ids=lambda s: s.name)
def test_what_was_written_is_read_however_it_is_asked_for(tmp_path, spec):
    x, y = examples(spec)
    split = write(tmp_path, spec, x, y)
    assert isinstance(split.x, ShardedArray)
    assert split.x.shape == x.shape
    assert split.x.dtype == x.dtype
    assert split.x.nbytes == x.nbytes
    assert len(split) == NUM
    for index in (
        slice(None),
        slice(10, 50),
        slice(90, 500),
        slice(60, 20),
        slice(3, 99, 7),
        slice(None, None, -1),
        np.array([5, 102, 5, 0, -1]),
        np.empty(0, dtype=np.int64),
        [3, 1],
        x.reshape(NUM, -1)[:, 0] > 0,
        17,
        -1,
        (slice(2, 9), 0),
        (4, 0),
    ):
        np.testing.assert_array_equal(split.x[index], x[index])
    np.testing.assert_array_equal(np.asarray(split.x), x)
    np.testing.assert_array_equal(np.asarray(split.y), y)
    np.testing.assert_array_equal(split.y[[7, 1]], y[[7, 1]])


@pytest.mark.usefixtures("shards")
def test_what_is_given_is_the_callers_own(tmp_path):
    x, y = examples(ROWS)
    split = write(tmp_path, ROWS, x, y)
    part = split.x[:5]
    part[:] = 0
    np.testing.assert_array_equal(split.x[:5], x[:5])


@pytest.mark.usefixtures("residence")
@pytest.mark.parametrize("index", [103, -104, np.array([0, 103]), np.array([-104])], ids=str)
def test_an_example_out_of_range_is_an_error(tmp_path, index):
    split = write(tmp_path, ROWS, *examples(ROWS))
    with pytest.raises(IndexError):
        split.x[index]


@pytest.mark.usefixtures("shards")
def test_other_parquet_tools_see_the_same_rows(tmp_path):
    x, y = examples(IMAGES)
    split = write(tmp_path, IMAGES, x, y)
    table = pyarrow.dataset.dataset(tmp_path / "train-00000.parquet").to_table()
    assert [field.nullable for field in table.schema] == [False, False]
    files = [tmp_path / shard.file for shard in split.x.shards]
    tables = [pyarrow.parquet.read_table(file) for file in files]
    raw = b"".join(value for t in tables for value in t["x"].to_pylist())
    assert raw == x.tobytes()
    assert [label for t in tables for label in t["y"].to_pylist()] == y.tolist()
    assert pyarrow.parquet.read_metadata(files[0]).metadata[b"genpipe"] == b'{"dtype": "uint8", "shape": [3, 4, 5]}'


@pytest.mark.parametrize("rows", [1, 19_999, 20_001, 70_000])
def test_a_column_is_one_page_however_many_rows(tmp_path, rows):
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    shard = write_shard(tmp_path, "a.parquet", x, np.arange(rows))
    content = (tmp_path / "a.parquet").read_bytes()
    assert content[shard.x_offset :][: x.nbytes] == x.tobytes()
    assert content[shard.y_offset :][: rows * 8] == np.arange(rows).tobytes()
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet", page_checksum_verification=True)
    assert table["y"].to_pylist() == list(range(rows))


@pytest.mark.usefixtures("shards")
def test_shards_do_not_depend_on_the_blocks_that_came(tmp_path):
    x, y = examples(ROWS)
    folders = [tmp_path / name for name in ("whole", "pieces")]
    for folder, blocks in zip(folders, [(NUM,), (1, 0, 40, 2)], strict=True):
        folder.mkdir()
        write(folder, ROWS, x, y, blocks)
    first, second = ([(p.name, p.read_bytes()) for p in sorted(f.iterdir())] for f in folders)
    assert first == second


@pytest.mark.usefixtures("shards", "residence")
def test_data_without_labels_has_none(tmp_path):
    x, _ = examples(ROWS)
    split = write(tmp_path, ROWS, x, None)
    assert split.y is None
    np.testing.assert_array_equal(np.concatenate([part for _, part, _ in in_order(split, 10)]), x)


@pytest.mark.usefixtures("residence")
def test_an_array_in_shards_crosses_to_another_process_as_its_address(tmp_path):
    x, y = examples(IMAGES)
    split = write(tmp_path, IMAGES, x, y)
    split.x[:3]
    sent = pickle.dumps(split.x)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent)[50:60], x[50:60])


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path, ROWS, *examples(ROWS))
    (tmp_path / "train-00000.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"the shard train-00000.parquet \(103 examples\) is missing"):
        open_split(tmp_path, "train")


def test_a_truncated_shard_is_named_with_what_was_expected(tmp_path):
    split = write(tmp_path, ROWS, *examples(ROWS))
    path, size = tmp_path / "train-00000.parquet", split.x.shards[0].bytes
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=rf"{path.name} has {size - 10} bytes, expected {size} \(103 examples\)"):
        open_split(tmp_path, "train")


@pytest.mark.usefixtures("residence")
def test_a_shard_that_is_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOADED_BYTES", 0)
    split = write(tmp_path, ROWS, *examples(ROWS))
    split.x[:1]
    with (tmp_path / "train-00000.parquet").open("r+b") as file:
        file.truncate(300)
    with pytest.raises(ArtifactError, match="has 300 bytes, expected"):
        split.x[90:]


def test_a_shard_that_became_another_file_is_named(tmp_path):
    split = write(tmp_path, ROWS, *examples(ROWS))
    (tmp_path / "train-00000.parquet").write_bytes(bytes(split.x.shards[0].bytes))
    with pytest.raises(ArtifactError, match="does not end as a Parquet file"):
        split.x[0]


def test_an_unknown_split_and_another_folder_are_told_apart(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no splits.json: no data artifact, or one of an older genpipe"):
        open_split(tmp_path, "train")
    write(tmp_path, ROWS, *examples(ROWS))
    with pytest.raises(ArtifactError, match="has no split 'tran'; did you mean 'train'"):
        open_split(tmp_path, "tran")


def test_counts_that_do_not_add_up_are_an_error(tmp_path):
    write(tmp_path, ROWS, *examples(ROWS))
    index = tmp_path / "splits.json"
    index.write_text(index.read_text().replace('"num": 103', '"num": 104', 1))
    with pytest.raises(ArtifactError, match=r"hold 103 examples, splits.json says 104"):
        open_split(tmp_path, "train")
