"""Reads the examples of coming batches while the present one is trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

Request = tuple[int, int]  # first position in the stream of examples, and how many

NUM_READERS = 2


class ReadAhead(Generic[T]):
    """Batches of a schedule that is known beforehand, a few of them under way in background threads.

    prepare: gives what reads a request; called here, its result in the background. At most `depth` batches are held.
    What a read raised is raised by the `take` that asks for its batch.
    """

    def __init__(
        self, prepare: Callable[[Request], Callable[[], T]], schedule: Iterator[Request], depth: int = 4
    ) -> None:
        self._prepare, self._schedule = prepare, schedule
        self._waiting: deque[tuple[Request, Future[T]]] = deque()
        self._pool = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="genpipe-read")
        self._depth = depth
        self._fill()

    def take(self, request: Request) -> T:
        """The batch of a request: under way where it is the schedule's next, else read here and now."""
        if not self._waiting or self._waiting[0][0] != request:
            return self._prepare(request)()
        _, future = self._waiting.popleft()
        self._fill()
        return future.result()

    def _fill(self) -> None:
        while len(self._waiting) < self._depth:
            request = next(self._schedule, None)
            if request is None:
                return
            self._waiting.append((request, self._pool.submit(self._prepare(request))))

    def close(self) -> None:
        """Drops what is under way; returns when the threads have ended."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
