"""Batches from memory and from shards, asked for one by one or read ahead."""

import threading
import time

import numpy as np
import pytest
import torch

from genpipe.data import Split, open_split, write_index
from genpipe.data.shard_writer import ShardWriter
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError
from genpipe.training.feed import Feed
from genpipe.training.read_ahead import ReadAhead
from genpipe.units import Units

SPEC = DataSpec(name="images", event="image", shape=(1, 4, 4), levels=256, num_classes=3)
NUM = 90
SCHEDULE = [(position, 16) for position in range(0, 400, 16)]


@pytest.fixture
def in_memory():
    x = np.random.default_rng(0).integers(0, 256, (NUM, *SPEC.shape)).astype(np.uint8)
    return Split(SPEC, "train", x, np.arange(NUM) % 3)


@pytest.fixture
def in_shards(in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr("genpipe.data.shard.SHARD_BYTES", 500)
    monkeypatch.setattr("genpipe.data.sharded_array.LOADED_BYTES", 0)
    writer = ShardWriter(tmp_path, "train", SPEC, NUM, labels=True)
    writer.write(in_memory.x, in_memory.y)
    writer.flush()
    write_index(tmp_path, SPEC, {"train": writer.shards})
    return open_split(tmp_path, "train")


def feed(split):
    return Feed(split, Units(SPEC), seed=5, device=torch.device("cpu"))


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("genpipe-read")]


def test_batches_are_the_same_from_memory_from_shards_and_read_ahead(in_memory, in_shards):
    first, second = feed(in_memory), feed(in_shards)
    assert not first.streams
    assert second.streams
    expected = [first.batch(*request) for request in SCHEDULE]
    one_by_one = [second.batch(*request) for request in SCHEDULE]
    with second.reading_ahead(SCHEDULE):
        assert readers()
        ahead = [second.batch(*request) for request in SCHEDULE]
    assert not readers()
    for batches in (one_by_one, ahead):
        for batch, wanted in zip(batches, expected, strict=True):
            assert torch.equal(batch.z, wanted.z)
            assert torch.equal(batch.y, wanted.y)


def test_workers_shares_make_the_whole_batch(in_memory, in_shards):
    whole = feed(in_memory).batch(32, 16)
    shares = [feed(in_shards).batch(32 + start, 4) for start in range(0, 16, 4)]
    assert torch.equal(torch.cat([share.z for share in shares]), whole.z)


def test_one_pass_is_the_same_from_memory_and_from_shards(in_memory, in_shards):
    for first, second in zip(feed(in_memory).one_pass(32), feed(in_shards).one_pass(32), strict=True):
        assert torch.equal(first.z, second.z)
        assert torch.equal(first.y, second.y)


def test_data_in_memory_starts_no_thread(in_memory):
    of = feed(in_memory)
    with of.reading_ahead(SCHEDULE):
        of.batch(0, 16)
        assert not readers()


def test_a_batch_off_the_schedule_is_given_all_the_same(in_shards):
    of = feed(in_shards)
    expected = of.batch(7, 5)
    with of.reading_ahead(SCHEDULE):
        of.batch(*SCHEDULE[0])
        assert torch.equal(of.batch(7, 5).z, expected.z)
        of.batch(*SCHEDULE[1])


def test_an_error_in_reading_is_raised_where_its_batch_is_taken(in_shards):
    of = feed(in_shards)
    for path in in_shards.x.folder.glob("*.parquet"):
        path.unlink()
    with of.reading_ahead(SCHEDULE), pytest.raises(ArtifactError, match="is missing"):
        [of.batch(*request) for request in SCHEDULE]
    assert not readers()


def test_what_is_held_is_bounded():
    begun = []

    def prepare(request):
        begun.append(request)
        return lambda: request

    ahead = ReadAhead(prepare, iter((k, 1) for k in range(1000)), depth=3)
    time.sleep(0.01)
    assert len(begun) == 3
    assert [ahead.take((k, 1)) for k in range(10)] == [(k, 1) for k in range(10)]
    assert len(begun) == 13
    ahead.close()


def test_closing_ends_the_threads_though_nothing_was_taken():
    gate = threading.Event()
    ahead = ReadAhead(lambda request: gate.wait, iter((k, 1) for k in range(100)))
    gate.set()
    ahead.close()
    assert not readers()
