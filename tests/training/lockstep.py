"""A group whose workers are threads of this process that take turns: the semantics of a real one, and no processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from genpipe.training.group import Group, GroupLost


class LockstepGroup(Group):
    """Worker `rank` runs from one meeting to the next, then the following one does. So even torch's own generator,
    which they share, gives what it would in processes."""

    def __init__(self, rank: int, size: int, hub: Hub) -> None:
        self.rank, self.size, self.hub = rank, size, hub

    def sum(self, tensors: Sequence[Tensor]) -> None:
        totals = self.hub.meet(self.rank, "sum", [t.clone() for t in tensors], added)
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        first = self.hub.meet(self.rank, "broadcast", [t.clone() for t in tensors], lambda given: given[0])
        for tensor, value in zip(tensors, first, strict=True):
            tensor.copy_(value)

    def tell(self, value: Any) -> Any:
        return self.hub.meet(self.rank, "tell", value, lambda given: given[0])

    def largest(self, numbers: Sequence[int]) -> list[int]:
        return self.hub.meet(
            self.rank, "largest", list(numbers), lambda given: [max(of) for of in zip(*given, strict=True)]
        )


class Hub:
    """Where the workers meet. Each in turn says its part, and the last one makes the answer."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.turns = [threading.Semaphore(1 if rank == 0 else 0) for rank in range(size)]
        self.said: list[tuple[str, Any]] = []
        self.answer: Any = None
        self.meetings = 0
        self.somebody_left = False

    def meet(self, rank: int, what: str, value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        if self.somebody_left:
            raise GroupLost("another worker of the group is gone")
        before = self.meetings
        self.said.append((what, value))
        if rank == self.size - 1:
            assert len({name for name, _ in self.said}) == 1, f"workers say different things: {self.said}"
            self.answer = combine([value for _, value in self.said])
            self.said, self.meetings = [], self.meetings + 1
        self.pass_on(rank)
        self.turns[rank].acquire()
        if self.meetings == before:
            raise GroupLost("another worker of the group is gone")
        return self.answer

    def pass_on(self, rank: int) -> None:
        self.turns[(rank + 1) % self.size].release()


def added(given: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(parts).sum(0).to(parts[0].dtype) for parts in zip(*given, strict=True)]


def in_lockstep(size: int, work: Callable[[Group], Any]) -> list[Any]:
    """What `work(group)` gives, or raises, for each worker of a group."""
    hub = Hub(size)
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        torch.set_num_threads(1)  # of this thread
        hub.turns[rank].acquire()
        try:
            results[rank] = work(LockstepGroup(rank, size, hub))
        except Exception as error:
            results[rank] = error
        finally:
            hub.somebody_left = True
            hub.pass_on(rank)

    state = torch.get_rng_state()
    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_rng_state(state)
    return results
