"""What each process of a step holds on a cluster, in the words of those who give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class WorkerResources:
    """What a step asks for, for each of its workers (see genpipe.config.Resources). Plain data.

    memory_gib: None asks for no memory in particular. custom: amounts of resources that the cluster's nodes were
    started with. accelerator_type: a GPU's name as Ray has it, such as "H100".
    """

    cpus: int = 1
    gpus: int = 0
    memory_gib: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    accelerator_type: str | None = None

    def amounts(self) -> dict[str, float]:
        """Ray's name of each resource → how much; memory in bytes. For nodes, placement groups and Ray Train."""
        amounts: dict[str, float] = {"CPU": self.cpus}
        if self.gpus:
            amounts["GPU"] = self.gpus
        if self.memory_gib is not None:
            amounts["memory"] = int(self.memory_gib * GIB)
        return amounts | dict(self.custom)

    def ray_options(self) -> dict[str, Any]:
        """Options of a Ray task or actor that holds them: `ray.remote(**options)` or `.options(**options)`."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": dict(self.custom)}
        if self.memory_gib is not None:
            options["memory"] = int(self.memory_gib * GIB)
        if self.accelerator_type is not None:
            options["accelerator_type"] = self.accelerator_type
        return options

    def scaling_options(self) -> dict[str, Any]:
        """Options of `ray.train.ScalingConfig`, next to its num_workers."""
        return {
            "use_gpu": bool(self.gpus),
            "resources_per_worker": self.amounts(),
            "accelerator_type": self.accelerator_type,
        }
