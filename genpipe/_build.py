"""What the compiled core is, and what of it runs here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import genpipe

_RECORD = Path(genpipe.__path__[0], "_build.json")  # beside the core


@dataclass(frozen=True)
class BuildInfo:
    """The build, read from the record that it left, and the state of this process."""

    version: str
    extension: str  # "loaded", or why it is not
    torch_built: str | None  # the version that the core was compiled against
    torch_running: str | None
    compiler: str | None
    cpu_variants: tuple[str, ...]
    cpu_variant: str | None  # the one in use
    cuda: str  # "ON", "OFF" or "EMULATE" (run on the CPU, for tests)
    cuda_archs: tuple[str, ...]
    num_threads: int | None
    source_digest: str | None

    def __str__(self) -> str:
        variants = ", ".join(self.cpu_variants) or "none"
        cuda = f"{self.cuda} ({', '.join(self.cuda_archs)})" if self.cuda_archs else self.cuda
        lines = {
            "genpipe": self.version,
            "compiled core": self.extension,
            "torch": f"{self.torch_running or 'not installed'} (core built against {self.torch_built or 'none'})",
            "compiler": self.compiler or "unknown",
            "CPU variants": f"{variants}; in use: {self.cpu_variant or 'none'}",
            "CUDA": cuda,
            "threads": "unknown" if self.num_threads is None else str(self.num_threads),
            "sources": (self.source_digest or "unknown")[:16],
        }
        return "\n".join(f"{name + ':':<15}{value}" for name, value in lines.items())


def build_record() -> dict[str, Any]:
    """The record that the build left beside the core, empty where nothing was built. Imports no torch."""
    try:
        text = _RECORD.read_text()
    except FileNotFoundError:
        return {}
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise RuntimeError(
            f"genpipe: {_RECORD} is damaged ({error}); rebuild with make, or pip install -e ."
        ) from error
    if not isinstance(record, dict):
        raise RuntimeError(f"genpipe: {_RECORD} is damaged (not an object); rebuild with make, or pip install -e .")
    return record


def source_digest() -> str | None:
    """sha256 of the sources that the compiled core was built from; None where nothing was built. Imports no torch."""
    digest = build_record().get("source_digest")
    return digest if isinstance(digest, str) else None


def build_info() -> BuildInfo:
    """The build and the state of this process; loads torch and the core, and reports what does not load.

    RuntimeError where GENPIPE_CPU names a variant that does not exist or cannot run here.
    """
    record = build_record()
    extension, variant, num_threads, running = _load()
    return BuildInfo(
        version=_version(),
        extension=extension,
        torch_built=record.get("torch"),
        torch_running=running,
        compiler=record.get("compiler"),
        cpu_variants=tuple(record.get("cpu_variants", ())),
        cpu_variant=variant,
        cuda=record.get("cuda", "OFF"),
        cuda_archs=tuple(record.get("cuda_archs", ())),
        num_threads=num_threads,
        source_digest=record.get("source_digest"),
    )


def _version() -> str:
    try:
        return metadata.version("genpipe")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _load() -> tuple[str, str | None, int | None, str | None]:
    """The core's state, its CPU variant, torch's threads and torch's version."""
    try:
        import torch
    except ImportError as error:
        return f"not loaded: torch is missing ({error})", None, None, None
    try:
        from genpipe.ops._extension import core
    except ImportError as error:
        if "GENPIPE_CPU" in str(error):
            raise RuntimeError(str(error)) from error
        return f"not loaded: {error}", None, torch.get_num_threads(), torch.__version__
    return "loaded", core.cpu_variant, torch.get_num_threads(), torch.__version__
