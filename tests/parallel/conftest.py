"""A Ray of each file's own, which its tests share, and which is gone when another file's begin."""

import os
from pathlib import Path

import pytest

from tests.ray_here import ray_here


@pytest.fixture(scope="module")
def on_ray():
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        patch.setenv("PYTHONPATH", path)
        patch.syspath_prepend(str(Path(__file__).parent))
        with ray_here(num_cpus=3):
            yield
