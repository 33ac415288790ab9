"""Which modes of a grid of 25 Gaussians a plain GAN and a Wasserstein GAN find."""

from __future__ import annotations

from pathlib import Path

import pytest

import genpipe
from genpipe.plugins.modes.metric import COVERED, IN_A_MODE, KL
from genpipe.table import Table


@pytest.mark.slow
def test_a_wasserstein_gan_finds_the_modes_that_a_plain_gan_leaves_out(tmp_path: Path) -> None:
    run = genpipe.run("grid-gan", ["seeds=[0]"], workspace=tmp_path, executor="inline", tracking="off", progress=False)
    found = {}
    for label in ("gan", "wgan-gp"):
        table = Table.read(run.artifact(f"evaluate.{label}.0") / "table.json")
        found[label] = {cell.name: cell.value for cell in table.subject.estimates}
    assert found["wgan-gp"][COVERED] >= 24
    assert found["wgan-gp"][IN_A_MODE] > 70
    assert found["wgan-gp"][KL] < 0.05
    assert found["gan"][COVERED] < found["wgan-gp"][COVERED]
    assert found["gan"][KL] > 5 * found["wgan-gp"][KL]
