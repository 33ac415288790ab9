"""The CPU variants: the same bits from each, nothing of one that could leak into another."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genpipe._build import build_record

ROOT = Path(__file__).parents[2]

# Digests of every op's results, forward and backward, in each dtype, over odd sizes and two numbers of threads.
SCRIPT = """
import hashlib, sys
import torch
from genpipe import _C, ops

key = ops.key(5, "variants")
digest = hashlib.sha256()

def take(*tensors):
    for x in tensors:
        digest.update(x.detach().contiguous().view(torch.uint8).numpy().tobytes())

table = torch.linspace(0.999, 0.01, 10, dtype=torch.float64)
for threads in (1, 2):
    torch.set_num_threads(threads)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for shape in ((9, 1), (5, 37), (3, 1300), (2, 3, 9, 9)):
            a, b, c = (ops.normal(ops.key(5, i), shape, dtype=dtype).requires_grad_() for i in range(3))
            t = ops.randint(key, 10, (shape[0],))
            z, kl = ops.gaussian_reparam(a, b, key, 3)
            nll = ops.bernoulli_nll(a * 9, c.sigmoid()) + ops.gaussian_nll(a, b * 5, c)
            x_t, e = ops.q_sample_with_noise(c, t, table, key, first_index=7)
            grads = torch.autograd.grad((kl.sum() + nll.sum() + z.sum()), (a, b))
            take(ops.uniform(key, shape, dtype=dtype), z, kl, nll, x_t, e, t, *grads)
            take(ops.q_sample(c, t, table, noise=e), ops.q_sample(c, t, table, key=key))
print(_C.cpu_variant, digest.hexdigest())
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
        used, digests[variant] = result.stdout.split()
        assert used == variant
    if len(digests) < 2:
        pytest.skip(f"this processor runs only {', '.join(digests)}")
    assert len(set(digests.values())) == 1, digests


def test_an_unknown_variant_is_refused():
    result = run("sse9")
    assert result.returncode != 0
    assert "GENPIPE_CPU=sse9: expected baseline, avx2 or avx512" in result.stderr


@pytest.mark.skipif(platform.system() != "Linux", reason="reads ELF symbols")
def test_no_variant_has_a_symbol_that_the_linker_could_share():
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    objects = sorted((ROOT / "build").glob("*/CMakeFiles/cpu_*.dir/**/*.o"))
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
