"""The driver's dealings with the store: what must be there before steps run, and what is brought here to be looked at."""

from __future__ import annotations

import logging

from genpipe.artifacts import discard
from genpipe.errors import ArtifactError, StoreError
from genpipe.plan import Plan, PlannedStep
from genpipe.stores import in_parallel
from genpipe.stores.stored import num_bytes
from genpipe.workspace import Workspace

logger = logging.getLogger("genpipe.stores")

LOOKED_AT_BYTES = 64 * 2**20  # reports, pictures, tables; weights and data come when somebody asks for them


def prepare(plan: Plan, workspace: Workspace) -> bool:
    """Before steps run: the store is known to take writes, and to have all that is reused from here.

    False where what it seemed to have is torn, as was said, and gone now: then the plan no longer holds. StoreError
    where the store does not do its part; a run that has nothing to make needs none, and warns.
    """
    if workspace.store is None:
        return True
    hits = [planned for planned in plan.steps.values() if planned.hit]
    try:
        if plan.to_run:
            workspace.store.probe()
        in_parallel(lambda planned: _send(planned, workspace), [planned for planned in hits if planned.here])
    except StoreError as error:
        if plan.to_run:
            raise
        logger.warning("%s; what is reused stays here alone", error)
    for planned in hits:
        if not planned.here:  # what there is here is damaged, as the plan told
            discard(workspace.artifact(planned.kind, planned.key))
    return all(in_parallel(lambda planned: bring_to_look_at(planned, workspace), hits))


def _send(planned: PlannedStep, workspace: Workspace) -> None:
    folder = workspace.artifact(planned.kind, planned.key)
    stored = workspace.stored(folder)
    if stored is not None:
        stored.send(folder)


def bring_to_look_at(planned: PlannedStep, workspace: Workspace) -> bool:
    """Fetches an artifact that another machine made, where it is small; one that does not come is said and left.

    False where it turned out to be torn.
    """
    folder = workspace.artifact(planned.kind, planned.key)
    stored = workspace.stored(folder)
    if stored is None or folder.exists():
        return True
    try:
        manifest = planned.found or stored.manifest()
        if manifest is not None and num_bytes(manifest) <= LOOKED_AT_BYTES:
            stored.bring(folder, workspace.scratch(planned.key))
    except StoreError as error:
        logger.warning("step '%s': %s", planned.step.id, error)
    except ArtifactError as error:
        logger.warning("step '%s': %s", planned.step.id, error)
        return False
    return True
