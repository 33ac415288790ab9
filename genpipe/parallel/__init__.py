"""Work of one step shared between processes: what a stage asks for, whatever runs it."""

from genpipe.parallel.fan_out import FanOut, InThisProcess
from genpipe.parallel.ranges import Range
from genpipe.parallel.resources import WorkerResources

__all__ = ["FanOut", "InThisProcess", "Range", "WorkerResources"]
