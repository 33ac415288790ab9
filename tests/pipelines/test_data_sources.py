"""The data stage over sources in parts."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

from genpipe.data import RawData, open_split, read_whole
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, PluginError
from tests.parallel.synthetic_source import Synthetic, run_data_stage

NUMS = (50, 1, 0, 200, 7, 150)


@pytest.fixture
def many_pieces(monkeypatch):
    monkeypatch.setattr("genpipe.pipelines.data.pieces.MIN_BYTES", 2000)
    monkeypatch.setattr("genpipe.data.shard.SHARD_BYTES", 1500)


def contents(folder):
    names = json.loads((folder / "splits.json").read_text())["splits"]
    splits = {name: open_split(folder, name) for name in names}
    return {name: (np.asarray(split.x), np.asarray(split.y)) for name, split in splits.items()}


@pytest.mark.usefixtures("many_pieces")
def test_a_source_gives_the_splits_of_the_same_data_in_memory(tmp_path):
    source = Synthetic(NUMS)
    parts = contents(run_data_stage(tmp_path / "parts", source, validation_fraction=0.1))
    whole = contents(run_data_stage(tmp_path / "whole", read_whole(source), validation_fraction=0.1))
    assert {name: len(x) for name, (x, _) in parts.items()} == {"train": 285, "validation": 41, "test": 82}
    for name, (x, y) in whole.items():
        np.testing.assert_array_equal(parts[name][0], x)
        np.testing.assert_array_equal(parts[name][1], y)


@pytest.mark.usefixtures("many_pieces")
def test_statistics_over_many_pieces_are_those_of_the_training_split(tmp_path):
    folder = run_data_stage(tmp_path, Synthetic(NUMS))
    spec, train = DataSpec.read(folder / "spec.json"), np.asarray(open_split(folder, "train").x, dtype=np.float64)
    assert len(open_split(folder, "train").x.shards) > 3
    np.testing.assert_allclose(spec.mean, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spec.std, train.std(axis=0), rtol=1e-12)


@pytest.mark.usefixtures("many_pieces")
def test_a_limit_keeps_a_fair_sample_of_all_parts(tmp_path):
    found = contents(run_data_stage(tmp_path, Synthetic(NUMS), limit=40))
    numbers = np.concatenate([x[:, 0] for x, _ in found.values()])
    assert len(set(numbers)) == 40
    assert numbers.max() > 250


class Interrupted(Synthetic):
    def read(self, part, spec):
        if part.address == "part-5.bin":
            raise OSError("the disk was pulled out")
        yield from super().read(part, spec)


class Finishing(Synthetic):
    def read(self, part, spec):
        assert part.address not in ("part-0.bin", "part-3.bin"), "was converted before"
        yield from super().read(part, spec)


@pytest.mark.usefixtures("many_pieces")
def test_a_conversion_that_was_interrupted_goes_on_where_it_was(tmp_path):
    whole = run_data_stage(tmp_path / "whole", Synthetic(NUMS))
    with pytest.raises(OSError, match="pulled out"):
        run_data_stage(tmp_path / "again", Interrupted(NUMS))
    again = run_data_stage(tmp_path / "again", Finishing(NUMS))
    for path in sorted(p for p in whole.rglob("*") if p.is_file()):
        assert path.read_bytes() == (again / path.relative_to(whole)).read_bytes(), path


@pytest.mark.usefixtures("many_pieces")
def test_a_piece_that_was_torn_is_converted_again(tmp_path):
    whole = run_data_stage(tmp_path, Synthetic(NUMS))
    torn = next((tmp_path / "scratch" / "pieces").glob("*/train-*.parquet"))
    torn.write_bytes(b"")  # also the artifact's: it is the same file
    again = run_data_stage(tmp_path, Synthetic(NUMS))
    assert sorted(p.name for p in again.rglob("*")) == sorted(p.name for p in whole.rglob("*"))
    assert all(p.stat().st_size for p in again.rglob("*.parquet"))


@dataclasses.dataclass(frozen=True)
class Bad(Synthetic):
    mistake: str = ""

    def survey(self, part):
        num = part.detail[1] + (self.mistake == "short" and part.address == "part-3.bin")
        return {"num": "many" if self.mistake == "survey" else num}

    def read(self, part, spec):
        for k, (x, y) in enumerate(super().read(part, spec)):
            if part.address == "part-3.bin" and k == 4:
                if self.mistake == "nan":
                    x[7, 2] = np.nan
                elif self.mistake == "shape":
                    x = x[:, :5]
                elif self.mistake == "labels":
                    y = None
                elif self.mistake == "class":
                    y = y + 1
            yield x, y


@pytest.mark.usefixtures("many_pieces")
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("nan", r"^part-3.bin: 1 of 20 examples have NaN or infinity, first at 87; leave them out"),
        ("shape", r"^part-3.bin: x has shape \(20, 5\), expected \(N, 6\)"),
        ("class", r"^part-3.bin: labels in \[1, 3\], expected 0 … 2; first at \d+$"),
        ("labels", r"^part-3.bin has no labels, unlike the examples before it"),
        ("short", r"^part-3.bin gave 200 examples, its survey said 201: did it change meanwhile\?"),
        ("survey", r"^part-0.bin: its survey has num 'many', expected a count of examples"),
    ],
)
def test_a_mistake_is_told_with_its_part_and_row(tmp_path, mistake, message):
    with pytest.raises(DataError, match=message):
        run_data_stage(tmp_path, Bad(NUMS, mistake=mistake))


@pytest.mark.parametrize("nums", [(), (0,), (1,)], ids=str)
def test_a_source_of_next_to_nothing_is_an_error(tmp_path, nums):
    with pytest.raises(DataError, match=rf"data set 'synthetic': {sum(nums)} examples?, expected at least 2"):
        run_data_stage(tmp_path, Synthetic(nums))


def test_what_is_no_data_is_the_plugins_mistake(tmp_path):
    with pytest.raises(
        PluginError, match=r"data set .synthetic. built a list, expected a genpipe.data RawData or Source"
    ):
        run_data_stage(tmp_path, [1, 2])


def test_data_without_labels_stays_without(tmp_path):
    folder = run_data_stage(tmp_path, Synthetic(NUMS, labelled=False))
    assert open_split(folder, "test").y is None


def test_memory_does_not_grow_with_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr("genpipe.pipelines.data.pieces.MIN_BYTES", 1 << 19)
    monkeypatch.setattr("genpipe.data.sharded_array.LOADED_BYTES", 0)
    monkeypatch.setattr("genpipe.pipelines.data.stage._preview", lambda *_: None)  # slow where every call is traced
    monkeypatch.setattr("genpipe.pipelines.data.convert.BLOCK_BYTES", 1 << 19)
    monkeypatch.setattr("genpipe.pipelines.data.statistics.CHUNK_BYTES", 1 << 19)
    source = Synthetic((250,) * 48, width=256, block=100)  # 12 MB in parts of 256 KB
    run_data_stage(tmp_path / "warm", Synthetic())
    tracemalloc.start()
    run_data_stage(tmp_path / "measured", source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20


def test_raw_data_of_another_type_is_converted(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 2))
    folder = run_data_stage(tmp_path, RawData(DataSpec(name="rows", event="vector", shape=(2,)), x))
    split = open_split(folder, "train")
    assert split.x.dtype == np.float32
    assert split.y is None
