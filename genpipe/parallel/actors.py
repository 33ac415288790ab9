"""Shared work on Ray actors: lost ones are replaced, slow ones overtaken, and none outlives the step."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from genpipe.errors import GenpipeError
from genpipe.parallel.ledger import Ledger
from genpipe.parallel.resources import WorkerResources
from genpipe.parallel.worker import Failed, Worker
from genpipe.stores import Site

logger = logging.getLogger("genpipe")

HANG_SECONDS = 300.0
TICK_SECONDS = 0.5
NOTICE_SECONDS = 20.0
ALIVE_SECONDS = 20.0
STALE_SECONDS = 20.0  # that a worker may go on with what nobody waits for
MAX_STILLBORN = 8  # workers in a row that die as they start


class _Member:
    """An actor as the step's process sees it.

    given: each item that it has, by the reference to its answer; stale: answers that nobody waits for any more.
    """

    def __init__(
        self, number: int, resources: WorkerResources, log: Path, site: Site | None, hang_seconds: float
    ) -> None:
        self.number = number
        make: Any = ray.remote(max_restarts=0, max_task_retries=0, **resources.ray_options())(Worker)
        self.handle: Any = make.remote(number, resources.cpus, str(log), site, hang_seconds)
        self.starting: Any = self.handle.ready.remote()
        self.begun: tuple[int, Any] | None = None
        self.given: dict[Any, int] = {}
        self.stale: set[Any] = set()
        self.stale_since = 0.0


class OnActors:
    """The work of a step by `num_workers` actors, each of which holds the step's resources.

    They start with the first map and live until `close`, or until this process ends, whichever way. A map goes on
    with as many as the cluster has room for. log: the step's, for what workers print; site: what paths are on other
    machines. hang_seconds: how long an item may use no processor time. alive: called now and then while work goes on.
    """

    def __init__(
        self,
        num_workers: int,
        resources: WorkerResources,
        log: Path,
        *,
        site: Site | None = None,
        hang_seconds: float = HANG_SECONDS,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.num_workers = num_workers
        self._alive, self._last_alive = alive, time.monotonic()
        self._resources, self._log, self._site, self._hang_seconds = resources, log, site, hang_seconds
        self._members: list[_Member] = []
        self._num_started = self._num_stillborn = 0
        self._shared: tuple[str, Any, Any] | None = None
        self._num_functions = 0
        self._alone_since: float | None = None  # infinite once it was said

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """See FanOut.map."""
        if not items:
            return
        self._share(task, shared)
        ledger: Ledger[_Member] = Ledger(items)
        try:
            while ledger.num_unfinished:
                self._fill(min(self.num_workers, ledger.num_unfinished))
                self._hand_out(ledger, items)
                self._notice()
                yield from self._collect(ledger)
        finally:
            self._part(ledger)

    def close(self) -> None:
        """Ends the actors."""
        while self._members:
            self._dismiss(self._members[-1])
        self._shared = None

    # -- members --------------------------------------------------------------------------------------------

    def _fill(self, wanted: int) -> None:
        for member in list(self._members):
            if member.stale and time.monotonic() - member.stale_since > STALE_SECONDS:
                self._dismiss(member)
        while len(self._members) < wanted:
            self._num_started += 1
            member = _Member(self._num_started, self._resources, self._log, self._site, self._hang_seconds)
            self._members.append(member)

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        ray.kill(member.handle)

    def _lose(self, member: _Member, ledger: Ledger[_Member], error: RayError) -> None:
        reason = _reason(error)
        logger.warning("worker %d was lost: %s", member.number, reason)
        self._dismiss(member)
        ledger.lost(member, reason)
        self._num_stillborn += member.starting is not None
        if self._num_stillborn >= MAX_STILLBORN:
            raise GenpipeError(f"{MAX_STILLBORN} workers in a row were lost before they were up: {reason}")

    def _part(self, ledger: Ledger[_Member]) -> None:
        """Ends those whose work has failed; copies of what is done may end by themselves, if they do so soon."""
        for member in list(self._members):
            if member.given and ledger.num_unfinished:
                self._dismiss(member)
            member.stale |= set(member.given)
            member.stale_since = time.monotonic()
            member.given.clear()

    def _notice(self) -> None:
        """Says once that the cluster has no room for any."""
        if any(member.starting is None for member in self._members):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > NOTICE_SECONDS:
            logger.info("waiting for the cluster to have room for a worker: %s", self._resources.amounts())
            self._alone_since = math.inf

    # -- work -----------------------------------------------------------------------------------------------

    def _share(self, task: str, shared: Any) -> None:
        if self._shared is None or self._shared[0] != task or self._shared[1] is not shared:
            self._shared = (task, shared, ray.put(shared))
            self._num_functions += 1

    def _hand_out(self, ledger: Ledger[_Member], items: Sequence[Any]) -> None:
        """One item each before anybody's second."""
        able = [member for member in self._members if member.starting is None and not member.stale]
        while able:
            able = [member for member in able if self._give(member, ledger, items)]

    def _give(self, member: _Member, ledger: Ledger[_Member], items: Sequence[Any]) -> bool:
        position = ledger.next_for(member, time.monotonic())
        if position is None:
            return False
        assert self._shared is not None
        task, _, shared = self._shared
        if member.begun is None or member.begun[0] != self._num_functions:
            member.begun = (self._num_functions, member.handle.begin.remote(task, shared))
        member.given[member.handle.do.remote(member.begun[1], items[position])] = position
        return True

    def _collect(self, ledger: Ledger[_Member]) -> Iterator[tuple[int, Any]]:
        """Answers that came, after a while at most."""
        if time.monotonic() - self._last_alive > ALIVE_SECONDS:
            self._alive()
            self._last_alive = time.monotonic()
        starting = [member.starting for member in self._members if member.starting is not None]
        refs = [*starting, *(ref for member in self._members for ref in (*member.given, *member.stale))]
        ray.wait(refs, num_returns=1, timeout=TICK_SECONDS)
        came = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0])
        for member in list(self._members):
            if member.starting is not None and member.starting in came and not self._is_up(member, ledger):
                continue
            if member.stale & came:
                self._drop_stale(member, ledger, member.stale & came)
            for ref, position in list(member.given.items()):
                if ref not in came or member not in self._members:
                    continue
                answer = self._answer(member, ledger, ref)
                if isinstance(answer, Failed):
                    raise error_of(answer)
                if answer is not None and ledger.done(member, position, time.monotonic(), answer.seconds):
                    yield position, answer.result

    def _is_up(self, member: _Member, ledger: Ledger[_Member]) -> bool:
        try:
            answer = ray.get(member.starting)
        except RayTaskError as error:
            raise error_of(Failed(_reason(error), 1, str(error))) from None
        except RayError as error:
            self._lose(member, ledger, error)
            return False
        if isinstance(answer, Failed):
            raise error_of(answer)
        logger.info("worker %d is up, process %d", member.number, answer.result)
        member.starting, self._num_stillborn = None, 0
        return True

    def _drop_stale(self, member: _Member, ledger: Ledger[_Member], came: set[Any]) -> None:
        member.stale -= came
        try:
            for ref in came:
                with contextlib.suppress(RayTaskError):
                    ray.get(ref)
        except RayError as error:
            self._lose(member, ledger, error)

    def _answer(self, member: _Member, ledger: Ledger[_Member], ref: Any) -> Any:
        """Done or Failed, or None where the worker was lost."""
        del member.given[ref]
        try:
            return ray.get(ref)
        except RayTaskError as error:  # not the item's own: it could not be sent, or its result could not
            raise error_of(Failed(_reason(error), 1, str(error))) from None
        except RayError as error:
            self._lose(member, ledger, error)
        return None


def error_of(failed: Failed) -> GenpipeError:
    """The error to raise where a worker failed; its traceback, where there is one, goes to the log."""
    if failed.traceback is not None:
        logger.error("in a worker:\n%s", failed.traceback.rstrip())
    error = GenpipeError(failed.error)
    error.exit_code = failed.exit_code
    return error


def _reason(error: RayError) -> str:
    """A line for people of what Ray tells in many."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        return f"{type(cause).__name__}: {cause}"
    if isinstance(error, OutOfMemoryError):
        return "it was killed for memory"
    if "its node" in str(error):
        return "its node died"
    return "its process died (killed, out of memory, hanging, or a crash in compiled code)"
