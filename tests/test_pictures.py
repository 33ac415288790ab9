import numpy as np
import pytest

from genpipe.dataspec import DataSpec
from genpipe.pictures import DARK, LIGHT, displayable, examples_figure, image_grid, png

RNG = np.random.default_rng(0)


def spec(event, shape, **options):
    return DataSpec(name="some", event=event, shape=shape, **options)


CASES = {
    "grey": (spec("image", (1, 8, 8), levels=17), RNG.integers(0, 17, (30, 1, 8, 8))),
    "colour": (spec("image", (3, 5, 7), low=-1.0, high=1.0), RNG.uniform(-1, 1, (5, 3, 5, 7))),
    "two channels": (spec("image", (2, 4, 4), levels=4), RNG.integers(0, 4, (2, 2, 4, 4))),
    "points": (spec("vector", (2,)), RNG.normal(size=(50, 2))),
    "line": (spec("vector", (1,)), RNG.normal(size=(50, 1))),
    "table": (spec("vector", (12,)), RNG.normal(size=(50, 12))),
    "sequence": (spec("sequence", (20,), levels=5), RNG.integers(0, 5, (9, 20))),
    "one": (spec("vector", (2,)), np.zeros((1, 2))),
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_data_is_drawn(case, theme):
    described, x = CASES[case]
    assert png(examples_figure(x, described, theme)).startswith(b"\x89PNG")
    if described.event == "vector":
        assert png(examples_figure(x, described, theme, real=x)).startswith(b"\x89PNG")


def test_points_are_coloured_by_class():
    described = spec("vector", (2,), num_classes=2, class_names=("cat", "dog"))
    figure = examples_figure(RNG.normal(size=(20, 2)), described, labels=np.arange(20) % 2)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cat", "dog"]


def test_levels_and_ranges_are_shown_from_black_to_white():
    levels = displayable(np.array([0, 16]).reshape(2, 1, 1, 1), spec("image", (1, 1, 1), levels=17))
    ranged = displayable(np.array([-1.0, 3.0]).reshape(2, 1, 1, 1), spec("image", (1, 1, 1), low=-1.0, high=3.0))
    assert levels[:, 0, 0, 0].tolist() == ranged[:, 0, 0, 0].tolist() == [0, 1]


def test_pixels_are_whole():
    """Each of an image's pixels covers the same number of screen pixels, in one colour."""
    import io

    from matplotlib.image import imread

    x = np.arange(4).reshape(1, 1, 2, 2)
    image = imread(io.BytesIO(png(image_grid(x, spec("image", (1, 2, 2), levels=4), LIGHT))))
    side = image.shape[0] // 2
    assert image.shape[:2] == (2 * side, 2 * side)
    for row in range(2):
        for column in range(2):
            block = image[row * side : (row + 1) * side, column * side : (column + 1) * side, 0]
            assert np.ptp(block) == 0


def test_a_limit_shows_as_many_images_as_were_asked_for():
    spec = DataSpec(name="grey", event="image", shape=(1, 4, 4), levels=2)
    x = np.zeros((100, 1, 4, 4), dtype=np.uint8)
    few, all_of_them = examples_figure(x, spec), examples_figure(x, spec, limit=100)
    assert few.get_figwidth() / few.get_figheight() == pytest.approx(1)
    zoom = round(640 / 40)  # ten columns of four pixels
    assert all_of_them.get_figwidth() * all_of_them.dpi == pytest.approx(
        10 * (4 * zoom) + 9 * max(2, round(0.24 * zoom))
    )
