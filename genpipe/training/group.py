"""Processes that train one model together: who they are, and the few things that they say to each other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from genpipe.errors import GenpipeError, first_line

BUCKET_BYTES = 25 << 20
"""Tensors travel in flat buckets of about this size, as DistributedDataParallel's do (Li et al., 2020, sec. 3.2.3)."""


class GroupLost(GenpipeError):
    """Another worker of the group died, or did not answer in time. Training goes on from the last checkpoint."""


class Group:
    """A group of one, which says nothing and costs nothing.

    rank: 0 … size − 1. Every worker calls the same methods in the same order.
    """

    rank = 0
    size = 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over the workers, in place; the same bits on all of them."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes rank 0's, in place."""

    def tell(self, value: Any) -> Any:
        """Rank 0's value, plain data, on every worker."""
        return value

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Of each number the largest over the workers; 64 bits."""
        return list(numbers)


class TorchGroup(Group):
    """The workers of torch.distributed's default process group, which is there already: gloo or NCCL.

    device: where this worker computes; NCCL speaks for tensors on it alone.
    heard: called before every exchange. Every method raises GroupLost where a worker is gone, or silent for the
    process group's time-out.
    """

    def __init__(self, device: torch.device | str = "cpu", heard: Callable[[], None] = lambda: None) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device, self.heard = torch.device(device), heard

    def sum(self, tensors: Sequence[Tensor]) -> None:
        with self.peers():
            sent = []
            for bucket in buckets(tensors):
                flat = self._flat(bucket)
                sent.append((dist.all_reduce(flat, async_op=True), flat, bucket))
            for work, flat, bucket in sent:  # the first is on its way while the next is put together
                work.wait()
                give_back(flat, bucket)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        with self.peers():
            for bucket in buckets(tensors):
                flat = self._flat(bucket)
                dist.broadcast(flat, src=0)
                give_back(flat, bucket)

    def tell(self, value: Any) -> Any:
        text = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor([len(text)], device=self.device)
        with self.peers():
            dist.broadcast(length, src=0)
            content = torch.frombuffer(bytearray(text or bytes(int(length))), dtype=torch.uint8).to(self.device)
            dist.broadcast(content, src=0)
        return json.loads(bytes(content.tolist()))

    def largest(self, numbers: Sequence[int]) -> list[int]:
        values = torch.tensor(list(numbers), dtype=torch.int64, device=self.device)
        with self.peers():
            dist.all_reduce(values, dist.ReduceOp.MAX)
            found: list[int] = values.tolist()
        return found

    @contextlib.contextmanager
    def peers(self) -> Iterator[None]:
        """GroupLost for what torch.distributed says, each backend in its own words, when a peer fails."""
        self.heard()
        try:
            yield
        except RuntimeError as error:
            raise GroupLost(f"another worker of the group is gone or silent: {first_line(error)}") from error

    def _flat(self, bucket: Sequence[Tensor]) -> Tensor:
        lone = len(bucket) == 1 and bucket[0].is_contiguous() and bucket[0].device == self.device
        flat: Tensor = bucket[0].view(-1) if lone else _flatten_dense_tensors(list(bucket)).to(self.device)
        return flat


def give_back(flat: Tensor, bucket: Sequence[Tensor]) -> None:
    """Puts a flat bucket's numbers where they came from."""
    if flat.data_ptr() != bucket[0].data_ptr():
        torch._foreach_copy_(list(bucket), list(_unflatten_dense_tensors(flat, list(bucket))))


def buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device together, in order, up to BUCKET_BYTES each. Empty ones have nothing to say."""
    open_ones: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    held: dict[tuple[torch.dtype, torch.device], int] = {}
    for tensor in tensors:
        if tensor.numel() == 0:
            continue
        kind = tensor.dtype, tensor.device
        if kind in open_ones and held[kind] + tensor.nbytes > BUCKET_BYTES:
            yield open_ones.pop(kind)
        held[kind] = held[kind] + tensor.nbytes if kind in open_ones else tensor.nbytes
        open_ones.setdefault(kind, []).append(tensor)
    yield from open_ones.values()
