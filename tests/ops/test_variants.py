"""The CPU variants: the same bits from each, nothing of one that could leak into another."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genpipe._build import build_record

ROOT = Path(__file__).parents[2]

# A digest of every case's results, forward and backward, in each dtype and size.
SCRIPT = """
import hashlib, json
import torch
from genpipe import _C
from tests.ops.cases import Draw, all_cases, forward_and_backward

digests = {}
for case in all_cases():
    if _C.cpu_variant == "cuda-emulation" and not case.exact_on_cuda:
        continue
    digest = hashlib.sha256()
    for dtype in case.dtypes:
        for rows, columns in case.sizes:
            for x in forward_and_backward(case, Draw(dtype, rows=rows, columns=columns)):
                digest.update(x.contiguous().view(torch.uint8).numpy().tobytes())
    digests[case.id] = digest.hexdigest()
print(json.dumps([_C.cpu_variant, digests]))
"""


def run(variant: str) -> subprocess.CompletedProcess[str]:
    # No FMA in hardware makes the baseline slow, so the sizes above are small.
    environment = {**os.environ, "GENPIPE_CPU": variant}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_all_variants_give_the_same_bits():
    digests = {}
    for variant in build_record()["cpu_variants"]:
        result = run(variant)
        if result.returncode != 0 and "cannot run it" in result.stderr:
            continue
        assert result.returncode == 0, result.stderr
        used, digests[variant] = json.loads(result.stdout)
        assert used == variant
    if len(digests) < 2:
        pytest.skip(f"this processor runs only {', '.join(digests)}")
    (variant, expected), *others = digests.items()
    for other, found in others:
        different = [case for case in found if found[case] != expected[case]]
        assert not different, f"{other} and {variant} differ in {different}"


def test_an_unknown_variant_is_refused():
    result = run("sse9")
    assert result.returncode != 0
    assert "GENPIPE_CPU=sse9: expected baseline, avx2 or avx512" in result.stderr


@pytest.mark.skipif(platform.system() != "Linux", reason="reads ELF symbols")
def test_no_variant_has_a_symbol_that_the_linker_could_share():
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    objects = sorted((ROOT / "build").glob("*/CMakeFiles/cpu_*.dir/**/*.o"))
    objects = [path for path in objects if "-sanitize" not in path.parts[len(ROOT.parts) + 1]]  # never shipped
    if not objects:
        pytest.skip("no build folder: the package was not built from this checkout")
    for path in objects:
        variant = path.relative_to(ROOT / "build").parts[2].removeprefix("cpu_").removesuffix(".dir")
        listing = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        weak = [line for line in listing.splitlines() if line.split()[-2] in "VvWwu"]
        assert not weak, f"{path}: weak symbols may replace another variant's code: {weak}"
        symbols = subprocess.run(["nm", "-C", path], capture_output=True, text=True, check=True).stdout.splitlines()
        exported = [line.split(" T ", 1)[1] for line in symbols if " T " in line]
        assert exported
        assert all(name.startswith(f"genpipe::{variant}::") for name in exported), f"{path}: {exported}"
