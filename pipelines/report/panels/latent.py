"""What a model's latent space holds: a walk along its main directions, reconstructions, and where held-out data lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from genpipe.data import subset_by_hash
from genpipe.dataspec import DataSpec
from genpipe.model import Model
from genpipe.pictures import CHART_PIXELS, LIGHT, Theme, blank_figure, class_styles, dress, frame, image_grid, legend
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel
from genpipe.pipelines.report.picture import Picture, picture

Array = npt.NDArray[Any]

MAX_CODES = 512
NUM_DIRECTIONS = 6
NUM_STOPS = 9  # along a direction, the mean in the middle
REACH = 2.5  # standard deviations to either side
NUM_RECONSTRUCTIONS = 10


@dataclass(frozen=True)
class Directions:
    """The principal directions of codes (N, D).

    mean: (D,); axes: (K, D), of unit length, most variance first; deviations: (K,); shares: (K,) of the variance.
    """

    mean: Tensor
    axes: Tensor
    deviations: Tensor
    shares: Tensor


def principal(codes: Tensor, num: int) -> Directions:
    """codes: (N, D), N at least 2. At most `num` directions, those without variance left out."""
    codes = codes.double()
    mean = codes.mean(0)
    _, lengths, axes = torch.linalg.svd(codes - mean, full_matrices=False)
    variances = lengths.square()
    kept = int((variances > 1e-12 * variances.sum()).sum().clamp(max=num))
    # An axis has no sign of its own: the greatest entry is made positive, so that the picture does not depend on it.
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    deviations = lengths / max(len(codes) - 1, 1) ** 0.5
    return Directions(mean, (axes * signs)[:kept], deviations[:kept], (variances / variances.sum())[:kept])


def panel(contents: Contents) -> Panel | None:
    if not {"encode", "decode"} <= contents.capabilities:
        return None
    model, spec, test = contents.model, contents.spec, contents.test
    chosen = subset_by_hash(len(test), MAX_CODES, seed=0)
    x = torch.from_numpy(np.array(test.x[chosen]))
    labels = None if test.y is None else np.array(test.y[chosen])
    asked = torch.from_numpy(labels) if labels is not None and model.conditional else None
    if model.conditional and asked is None:
        return None  # its codes are of examples whose labels are known
    codes = model.encode(x, asked).cpu()
    if not codes.is_floating_point() or len(codes) < 2:
        return None  # a code of whole numbers has no directions
    found = principal(codes.flatten(1), NUM_DIRECTIONS)
    if not len(found.axes):
        return None  # every example has the same code
    pictures = {"codes": picture(lambda theme: codes_figure(codes.flatten(1), found, spec, labels, theme), CODES)}
    if spec.event == "image" or spec.shape == (2,):
        # Where a decoder takes labels, one class is shown: the first example's.
        stops = _stops(found)
        y = None if asked is None else asked[:1].expand(stops[..., 0].numel())
        decoded = model.decode(stops.flatten(0, 1).reshape(-1, *codes.shape[1:]).to(codes.dtype), y).cpu().numpy()
        pictures["traversal"] = picture(lambda theme: traversal_figure(decoded, test.x[chosen], spec, theme), TRAVERSAL)
    if spec.event == "image":
        pictures["reconstructions"] = _reconstructions(model, x, codes, asked, spec)
    return Panel(
        name="latent",
        title="Latent space",
        values={
            "num_codes": len(codes),
            "dimensions": codes[0].numel(),
            "shares": f"{100 * float(found.shares.sum()):.0f} %",
            "reach": REACH,
            "is_image": spec.event == "image",
            "coloured": labels is not None and bool(class_styles(spec, LIGHT)),
        },
        pictures=pictures,
    )


CODES = "Scatter of the codes of held-out examples along their first two principal directions"
TRAVERSAL = "What the decoder gives along the principal directions of the codes"


def _stops(found: Directions) -> Tensor:
    """Codes (K, NUM_STOPS, D) along each direction."""
    steps = torch.linspace(-REACH, REACH, NUM_STOPS, dtype=torch.float64) * found.deviations[:, None]
    return found.mean + steps[..., None] * found.axes[:, None]


def _reconstructions(model: Model, x: Tensor, codes: Tensor, y: Tensor | None, spec: DataSpec) -> Picture:
    few = slice(0, NUM_RECONSTRUCTIONS)
    back = model.decode(codes[few], None if y is None else y[few]).cpu().numpy()
    both = np.concatenate([x[few].numpy(), back])
    return picture(
        lambda theme: image_grid(both, spec, theme, num_columns=len(back)),
        "Held-out examples above their reconstructions",
    )


def traversal_figure(decoded: Array, real: Array, spec: DataSpec, theme: Theme) -> Figure:
    """decoded: (K · NUM_STOPS, *event), direction after direction; real: examples drawn behind points."""
    if spec.event == "image":
        return image_grid(decoded, spec, theme, num_columns=NUM_STOPS)
    figure = blank_figure(CHART_PIXELS, 480, theme)
    axes = figure.add_subplot()
    axes.scatter(real[:, 0], real[:, 1], s=4, color=theme.real, alpha=0.5, linewidths=0, label="held-out data")
    for k, line in enumerate(decoded.reshape(-1, NUM_STOPS, 2)):
        colour = theme.series[k % len(theme.series)]
        axes.plot(line[:, 0], line[:, 1], ".-", color=colour, linewidth=1.2, markersize=4, label=f"direction {k + 1}")
    frame(axes, real)
    dress(axes, theme)
    axes.set(xlabel="x₁ [data units]", ylabel="x₂ [data units]", aspect="equal")
    legend(axes, theme, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0, handletextpad=0.3)
    return figure


def codes_figure(codes: Tensor, found: Directions, spec: DataSpec, labels: Array | None, theme: Theme) -> Figure:
    """Along the first two directions, in standard deviations of the first."""
    figure = blank_figure(CHART_PIXELS, 480, theme)
    axes = figure.add_subplot()
    at = ((codes.double() - found.mean) @ found.axes[:2].T).numpy()
    if at.shape[1] == 1:
        axes.hist(at[:, 0], bins=40, color=theme.model)
        axes.set(xlabel="along direction 1", ylabel="examples")
        dress(axes, theme)
        return figure
    styles = [] if labels is None else class_styles(spec, theme)
    if not styles:
        axes.scatter(at[:, 0], at[:, 1], s=9, color=theme.model, linewidths=0)
    else:
        for label, (name, colour, marker) in enumerate(styles):
            of_class, size = at[labels == label], 9 if marker == "o" else 16
            axes.scatter(of_class[:, 0], of_class[:, 1], s=size, color=colour, marker=marker, linewidths=0, label=name)
        if not all(marker == f"${name}$" for name, _, marker in styles):  # marks that say their class need no key
            figure.legend(
                loc="outside right upper", frameon=False, fontsize=6.5, labelcolor=theme.ink, handletextpad=0.1
            )
    dress(axes, theme)
    axes.set(xlabel="along direction 1", ylabel="along direction 2", aspect="equal", adjustable="datalim")
    return figure
