"""Frees what killed groups still hold.

A placement group that an actor made outlives it for as long as the job does. Ray Train has an actor that looks after
them, which asks the dashboard; an embedded Ray has none, and the next group would wait for resources for ever.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray._private.state import state as cluster_state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

GroupTable: Any = vars(gcs_pb2)["PlacementGroupTableData"]  # made when its module is imported
log = logging.getLogger("genpipe.training")

LOOK_SECONDS = 3.0


def free_leftovers() -> None:
    """Removes the placement groups of this job whose actor is dead."""
    job = ray.get_runtime_context().get_job_id()
    for content in cluster_state._connect_and_get_accessor().get_placement_group_table():
        found = GroupTable.FromString(content)
        removed = found.state == GroupTable.REMOVED
        if found.creator_actor_dead and not found.is_detached and not removed and found.creator_job_id.hex() == job:
            log.info("a group that was killed still held its resources; they are free now")
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(found.placement_group_id)))


@contextlib.contextmanager
def leftovers_freed() -> Iterator[None]:
    """Frees them every few seconds, as a node's death is known late."""
    ended = threading.Event()

    def look() -> None:
        while True:
            try:
                free_leftovers()
            except Exception as error:  # of a Ray that is about to go, or that keeps its tables in another way
                log.warning("what killed groups hold cannot be freed: %s", error)
                return
            if ended.wait(LOOK_SECONDS):
                return

    thread = threading.Thread(target=look, daemon=True, name="leftovers")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LOOK_SECONDS)
