"""Shared work as a Ray Data job: items are rows, mapped by as many tasks at a time as the step has workers."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import DataContext, ExecutionResources
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from genpipe.components import load_reference
from genpipe.errors import GenpipeError, last_line
from genpipe.parallel.actors import ALIVE_SECONDS, HANG_SECONDS, error_of
from genpipe.parallel.resources import WorkerResources
from genpipe.parallel.worker import Failed, Watch, attempt

logger = logging.getLogger("genpipe")

MAX_BLOCKS = 2000  # tasks of a job at most; more items than that share tasks
STACKS = "stacks"
MAX_ATTEMPTS = 5  # at an item; Ray Data itself would go on for ever with what kills its worker each time


class OnRayData:
    """A FanOut whose results are JSON values. Tasks hold the step's resources, one node or many.

    A task that was lost with its process or node is run again by Ray, so that items may be done twice. scratch: a
    folder that all processes see, where each leaves a mark of what it began. hang_seconds: how long an item may use
    no processor time. alive: called now and then while work goes on. on_this_node: where other nodes may not see it.
    """

    def __init__(
        self,
        num_workers: int,
        resources: WorkerResources,
        scratch: Path,
        *,
        hang_seconds: float = HANG_SECONDS,
        alive: Callable[[], None] = lambda: None,
        on_this_node: bool = False,
    ) -> None:
        self.num_workers, self._resources, self._scratch = num_workers, resources, scratch
        self._hang_seconds, self._alive = hang_seconds, alive
        self._on_this_node = on_this_node

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """See FanOut.map."""
        if not items:
            return
        work = ray.put((task, shared, list(items)))
        marks = self._scratch / f"begun-{uuid.uuid4().hex[:8]}"
        marks.mkdir(parents=True)
        num_blocks = min(len(items), MAX_BLOCKS)
        with self._settings(), self._signs_of_life():
            rows = ray.data.from_items(
                [{"position": position} for position in range(len(items))],
                override_num_blocks=num_blocks,
            )
            done = rows.map(
                _Doer(work, marks, self._hang_seconds),
                concurrency=min(self.num_workers, num_blocks),
                **self._resources.ray_options(),
                **(_here() if self._on_this_node else {}),
            )
            try:
                for row in done.iter_rows():
                    answer = json.loads(row["answer"])
                    if "error" in answer:
                        raise error_of(Failed(**answer))
                    yield int(row["position"]), answer["result"]
            except RayError as error:
                raise GenpipeError(f"Ray Data: {last_line(error)}") from error
            finally:
                if stacks := _read(marks / STACKS):
                    logger.warning("workers hung, and were ended where they were:\n%s", stacks)
                shutil.rmtree(marks, ignore_errors=True)

    @contextlib.contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        """The rows come from an iterator that only blocks, so another thread speaks for the step."""
        over = threading.Event()

        def speak() -> None:
            while not over.wait(ALIVE_SECONDS):
                self._alive()

        speaker = threading.Thread(target=speak, daemon=True, name="signs-of-life")
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Of the data sets made meanwhile: the step tells its own progress, and takes what it asked for at most."""
        held, num = self._resources.amounts(), self.num_workers
        execution = copy.copy(DataContext.get_current().execution_options)
        execution.resource_limits = ExecutionResources.for_limits(cpu=num * held["CPU"], gpu=num * held.get("GPU", 0))
        wanted = {"enable_progress_bars": False, "print_on_execution_start": False, "execution_options": execution}
        context, theirs = DataContext.get_current(), logging.getLogger("ray.data")
        before, level = {name: getattr(context, name) for name in wanted if hasattr(context, name)}, theirs.level
        try:
            for name in before:
                setattr(context, name, wanted[name])
            theirs.setLevel(logging.ERROR)
            yield
        finally:
            for name, value in before.items():
                setattr(context, name, value)
            theirs.setLevel(level)


def _here() -> dict[str, Any]:
    node = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class _Doer:
    """Does the item of a row. work: where (task, shared, items) is, which each process looks up once for all its rows."""

    def __init__(self, work: Any, marks: Path, hang_seconds: float) -> None:
        self._work, self._marks, self._hang_seconds = work, marks, hang_seconds

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        position = int(row["position"])
        done = attempt(lambda: self._do(position))
        answer = vars(done) if isinstance(done, Failed) else {"result": done.result}
        return {"position": position, "answer": json.dumps(answer)}

    def _do(self, position: int) -> Any:
        function, items, watch = self._made()
        mark = self._marks / str(position)
        with mark.open("ab") as file:
            file.write(b".")
            if file.tell() > MAX_ATTEMPTS:
                raise GenpipeError(
                    f"{items[position]}: its worker process died {MAX_ATTEMPTS} times (killed, out of memory, hanging, or "
                    "a crash in compiled code)"
                )
        with watch:
            result = function(items[position])
        mark.unlink(missing_ok=True)
        return result

    def _made(self) -> _Made:
        key = self._work.hex()
        if key not in _made:
            _made.clear()
            task, shared, items = ray.get(self._work)
            watch = Watch((self._marks / STACKS).open("a"), self._hang_seconds)
            _made[key] = (load_reference(task)(shared), items, watch)
        return _made[key]


_Made = tuple[Callable[[Any], Any], Sequence[Any], Watch]
_made: dict[str, _Made] = {}


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
