"""Two-dimensional data sets whose density is known: they show which modes a family finds, and how well it fits."""

from __future__ import annotations

from genpipe.components import Dataset
from genpipe.hookspecs import hookimpl

GAUSSIANS_2D = Dataset(
    name="gaussians_2d",
    summary="a ring of 8 or a grid of 25 narrow Gaussians in the plane, with their exact density",
    config="genpipe.plugins.densities_2d.config:GaussiansConfig",
    build="genpipe.plugins.densities_2d.gaussians:build",
    events=("vector",),
    labelled=True,
    log_density="genpipe.plugins.densities_2d.gaussians:log_density",
    score="genpipe.plugins.densities_2d.gaussians:score",
    modes="genpipe.plugins.densities_2d.gaussians:modes",
    draw="genpipe.plugins.densities_2d.gaussians:draw",
)

MOONS = Dataset(
    name="moons",
    summary="two interleaved half circles with Gaussian noise, with their density",
    config="genpipe.plugins.densities_2d.config:MoonsConfig",
    build="genpipe.plugins.densities_2d.moons:build",
    events=("vector",),
    labelled=True,
    log_density="genpipe.plugins.densities_2d.moons:log_density",
    score="genpipe.plugins.densities_2d.moons:score",
    draw="genpipe.plugins.densities_2d.moons:draw",
)

CHECKERBOARD = Dataset(
    name="checkerboard",
    summary="eight uniform squares of a board with slightly blurred edges, with their exact density",
    config="genpipe.plugins.densities_2d.config:CheckerboardConfig",
    build="genpipe.plugins.densities_2d.checkerboard:build",
    events=("vector",),
    labelled=True,
    log_density="genpipe.plugins.densities_2d.checkerboard:log_density",
    score="genpipe.plugins.densities_2d.checkerboard:score",
    draw="genpipe.plugins.densities_2d.checkerboard:draw",
)

PINWHEEL = Dataset(
    name="pinwheel",
    summary="five curved arms around a centre, with their exact density",
    config="genpipe.plugins.densities_2d.config:PinwheelConfig",
    build="genpipe.plugins.densities_2d.pinwheel:build",
    events=("vector",),
    labelled=True,
    log_density="genpipe.plugins.densities_2d.pinwheel:log_density",
    score="genpipe.plugins.densities_2d.pinwheel:score",
    draw="genpipe.plugins.densities_2d.pinwheel:draw",
)

SPIRALS = Dataset(
    name="spirals",
    summary="two interleaved spiral arms with Gaussian noise, with their density",
    config="genpipe.plugins.densities_2d.config:SpiralsConfig",
    build="genpipe.plugins.densities_2d.spirals:build",
    events=("vector",),
    labelled=True,
    log_density="genpipe.plugins.densities_2d.spirals:log_density",
    score="genpipe.plugins.densities_2d.spirals:score",
    draw="genpipe.plugins.densities_2d.spirals:draw",
)


@hookimpl
def register_datasets() -> list[Dataset]:
    return [GAUSSIANS_2D, MOONS, CHECKERBOARD, PINWHEEL, SPIRALS]
