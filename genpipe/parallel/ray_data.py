"""Shared work as a Ray Data job: items are rows, mapped by as many tasks at a time as the step has workers."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import DataContext, ExecutionResources
from ray.exceptions import RayError

from genpipe.components import load_reference
from genpipe.errors import GenpipeError
from genpipe.parallel.actors import error_of
from genpipe.parallel.resources import WorkerResources
from genpipe.parallel.worker import Failed, attempt

MAX_BLOCKS = 2000  # tasks of a job at most; more items than that share tasks
MAX_ATTEMPTS = 5  # at an item; Ray Data itself would go on for ever with what kills its worker each time


class OnRayData:
    """A FanOut whose results are JSON values. Tasks hold the step's resources, one node or many.

    A task that was lost with its process or node is run again by Ray, so that items may be done twice. scratch: a
    folder that all processes see, where each leaves a mark of what it began.
    """

    def __init__(self, num_workers: int, resources: WorkerResources, scratch: Path) -> None:
        self.num_workers, self._resources, self._scratch = num_workers, resources, scratch

    def map(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """See FanOut.map."""
        if not items:
            return
        work = ray.put((task, shared, list(items)))
        marks = self._scratch / f"begun-{uuid.uuid4().hex[:8]}"
        marks.mkdir(parents=True)
        num_blocks = min(len(items), MAX_BLOCKS)
        with self._settings():
            rows = ray.data.from_items(
                [{"position": position} for position in range(len(items))],
                override_num_blocks=num_blocks,
            )
            done = rows.map(
                _Doer(work, marks),
                concurrency=min(self.num_workers, num_blocks),
                **self._resources.ray_options(),
            )
            try:
                for row in done.iter_rows():
                    answer = json.loads(row["answer"])
                    if "error" in answer:
                        raise error_of(Failed(**answer))
                    yield int(row["position"]), answer["result"]
            except RayError as error:
                raise GenpipeError(f"Ray Data: {str(error).strip().splitlines()[-1]}") from error
            finally:
                shutil.rmtree(marks, ignore_errors=True)

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Of the data sets made meanwhile: the step tells its own progress, and takes what it asked for at most."""
        held, num = self._resources.amounts(), self.num_workers
        execution = copy.copy(DataContext.get_current().execution_options)
        execution.resource_limits = ExecutionResources.for_limits(cpu=num * held["CPU"], gpu=num * held.get("GPU", 0))
        wanted = {"enable_progress_bars": False, "print_on_execution_start": False, "execution_options": execution}
        context, logger = DataContext.get_current(), logging.getLogger("ray.data")
        before, level = {name: getattr(context, name) for name in wanted if hasattr(context, name)}, logger.level
        try:
            for name in before:
                setattr(context, name, wanted[name])
            logger.setLevel(logging.ERROR)
            yield
        finally:
            for name, value in before.items():
                setattr(context, name, value)
            logger.setLevel(level)


class _Doer:
    """Does the item of a row. work: where (task, shared, items) is, which each process looks up once."""

    def __init__(self, work: Any, marks: Path) -> None:
        self._work, self._marks = work, marks

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        position = int(row["position"])
        done = attempt(lambda: self._do(position))
        answer = vars(done) if isinstance(done, Failed) else {"result": done.result}
        return {"position": position, "answer": json.dumps(answer)}

    def _do(self, position: int) -> Any:
        function, items = self._made()
        mark = self._marks / str(position)
        with mark.open("ab") as file:
            file.write(b".")
            if file.tell() > MAX_ATTEMPTS:
                raise GenpipeError(
                    f"{items[position]}: its worker process died {MAX_ATTEMPTS} times (killed, out of memory, or a crash "
                    "in compiled code)"
                )
        result = function(items[position])
        mark.unlink(missing_ok=True)
        return result

    def _made(self) -> tuple[Callable[[Any], Any], Sequence[Any]]:
        key = self._work.hex()
        if key not in _functions:
            _functions.clear()
            task, shared, items = ray.get(self._work)
            _functions[key] = (load_reference(task)(shared), items)
        return _functions[key]


_functions: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {}
