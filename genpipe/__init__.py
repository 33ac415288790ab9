"""genpipe: one recipe takes data to a trained, sampled, evaluated and tracked generative model of any family.

    import genpipe
    run = genpipe.run("digits-vae", {"train.steps": 500})
    model = genpipe.load(run)
    model.sample(64, seed=0); model.log_prob(x); model.encode(x)

Names are imported on first use, so that `import genpipe` needs neither torch nor ray nor mlflow.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genpipe._build import build_info
    from genpipe.api import evaluate, load, run
    from genpipe.components import Dataset, Family, FeatureExtractor, Member, Metric, Pipeline, Stage
    from genpipe.config import Config
    from genpipe.dataspec import DataSpec
    from genpipe.errors import GenpipeError
    from genpipe.hookspecs import hookimpl
    from genpipe.model import Batch, LogProb, Model, Sampler
    from genpipe.noise import Noise
    from genpipe.runs import Run
    from genpipe.sweeps.driver import sweep

_HOMES = {
    "build_info": "genpipe._build",
    "evaluate": "genpipe.api",
    "load": "genpipe.api",
    "run": "genpipe.api",
    "Dataset": "genpipe.components",
    "Family": "genpipe.components",
    "FeatureExtractor": "genpipe.components",
    "Member": "genpipe.components",
    "Metric": "genpipe.components",
    "Pipeline": "genpipe.components",
    "Stage": "genpipe.components",
    "Config": "genpipe.config",
    "DataSpec": "genpipe.dataspec",
    "GenpipeError": "genpipe.errors",
    "hookimpl": "genpipe.hookspecs",
    "Batch": "genpipe.model",
    "LogProb": "genpipe.model",
    "Model": "genpipe.model",
    "Sampler": "genpipe.model",
    "Noise": "genpipe.noise",
    "Run": "genpipe.runs",
    "sweep": "genpipe.sweeps.driver",
}

__all__ = sorted(_HOMES)

# Another build of the compiled core for this process, for tests: the CUDA kernels emulated, or under sanitizers.
if _core := os.environ.get("GENPIPE_CORE_DIR"):
    if not os.path.isfile(os.path.join(_core, "_build.json")):
        raise ImportError(
            f"GENPIPE_CORE_DIR={_core}: no compiled core there (setup.py build_ext --build-lib makes one)"
        )
    __path__.insert(0, os.path.abspath(_core))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("genpipe")
    if name not in _HOMES:
        raise AttributeError(f"module 'genpipe' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
