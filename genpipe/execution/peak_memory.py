"""The most memory that a step's process held while the step worked, as the kernel and the GPU's allocator count it."""

from __future__ import annotations

import re
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5), since Linux 4.0


class PeakMemory:
    """Counts from when it is made. gpu: whether the step's tensors are on one."""

    def __init__(self, *, gpu: bool) -> None:
        self._gpu = gpu
        try:
            CLEAR.write_text(RESET_PEAK)
            self._known = True
        except OSError:  # another system, or one that does not let processes ask
            self._known = False
        if gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def facts(self) -> dict[str, int]:
        """peak_memory_bytes, resident, with all that the process held before; peak_gpu_memory_bytes, of tensors.

        What is not known is left out.
        """
        found = {}
        kilobytes = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE) if self._known else None
        if kilobytes is not None:
            found["peak_memory_bytes"] = int(kilobytes[1]) * 1024
        if self._gpu:
            import torch

            found["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
        return found
