"""Loads the compiled core, which registers torch.ops.genpipe, or says why it cannot."""

from __future__ import annotations

import importlib
from typing import Any

import torch  # the core links against torch's libraries, which this loads

try:
    core: Any = importlib.import_module("genpipe._C")
except ImportError as error:
    if "GENPIPE_CPU" in str(error):
        raise
    if isinstance(error, ModuleNotFoundError):
        advice = "it has not been built for this Python; run: pip install --no-build-isolation -e ."
    else:
        advice = (
            f"it does not load with torch {torch.__version__}; rebuild it against this torch: "
            "pip install --no-build-isolation --force-reinstall --no-deps -e ."
        )
    raise ImportError(f"genpipe's compiled core is missing: {advice} ({error})") from error

__all__ = ["core"]
