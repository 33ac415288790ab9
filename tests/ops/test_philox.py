"""The generator itself: known answers, and the wrapper's key and counter."""

from __future__ import annotations

import pytest
import torch

from genpipe import _C, ops
from genpipe.ops import reference

# Random123's kat_vectors, philox4x32 with 10 rounds: counter (low, high 64 bits), key, result.
KNOWN_ANSWERS = [
    (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        0x85A308D3243F6A88,
        0x0370734413198A2E,
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("block", "stream", "seed", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(block, stream, seed, expected):
    assert _C.philox4x32(block, stream, seed) == expected


def test_the_reference_generator_is_philox():
    blocks = torch.tensor([0, 1, 12345, 2**40 + 7])
    words = reference.philox(-3, 2**62 + 5, blocks)
    for block, row in zip(blocks.tolist(), words.tolist(), strict=True):
        assert tuple(row) == _C.philox4x32(block, 2**62 + 5, (-3) % 2**64)
    assert tuple(reference.philox(1, 2, blocks, second_plane=True)[1].tolist()) == _C.philox4x32(1 | 2**63, 2, 1)


def test_a_name_is_always_the_same_stream():
    assert ops.key(7, "train/noise").tolist() == [7, 5385067506756714921]
    assert ops.key(7, "train/noise").dtype == torch.int64


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed must fit a signed 64-bit integer"):
        ops.key(seed, 0)


@pytest.mark.parametrize("stream", [-1, 2**63])
def test_a_stream_out_of_range_is_refused(stream):
    with pytest.raises(ValueError, match="stream must be a name or an integer"):
        ops.key(0, stream)
