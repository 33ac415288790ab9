"""Training curves, the lowest loss circled."""

from __future__ import annotations

from genpipe import words
from genpipe.pictures import LIGHT, png
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import picture
from genpipe.pipelines.train.curves import VALIDATION_LOSS, curves_figure, lowest, panel_names


def panel(contents: Contents) -> Panel | None:
    if contents.family is None:
        return None
    history = contents.history
    metrics = contents.manifests["model"].summary.get("metrics", {})
    # One by one, so that the page can set them side by side or one below the other.
    curves = [
        picture(lambda theme, name=name: curves_figure(history, theme, [name]), f"Training curve of {name}")
        for name in panel_names(history)
    ]
    return Panel(
        name="training",
        title="Training",
        values={
            "curves": curves,
            "best": _best(contents),
            "final_numbers": [(name.replace("_", " "), words.number(value)) for name, value in metrics.items()],
        },
        files={"curves": png(curves_figure(history, LIGHT))} if history else {},
    )


def _best(contents: Contents) -> str:
    """Where the loss was lowest, and which weights the model has all the same."""
    found = lowest(contents.history)
    if found is None:
        return ""
    name, step, value = found
    circle = (
        f"The circle is the lowest {name.replace('_', ' ')}, {words.number(value)} at step {words.count(int(step))}"
    )
    if name == VALIDATION_LOSS:
        return f"{circle}; the model has the weights of that step."
    decay = contents.manifests["model"].config.get("train", {}).get("ema_decay", 0)
    averaged = f", averaged over the last steps (decay {decay:g})" if decay > 0 else ""
    return f"{circle}; the model has the weights of the last step{averaged}."
