"""Settings of the threads that compute, made before torch is imported."""

from __future__ import annotations

import os


def wait_politely() -> None:
    """Lets OpenMP's idle threads sleep instead of spinning.

    Steps run side by side, and beside other work: where cores are shared, threads that spin while others hold the
    core they wait for make small models several times slower. On an idle machine sleeping costs little.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
