"""The results page: `python -m benchmarks.comparisons` runs the comparisons that need no GPU and writes docs/results.md.

Beside it go the pictures (docs/images) and the numbers (benchmarks/results), from which `--render` writes the page again.
Steps that are in the workspace are reused; `--fresh` makes all again. Best on a quiet machine: it tells times.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from genpipe.comparison import COMPARISON, Cell, Comparison, Row
from genpipe.comparison_text import cell_text, legend, markdown_table, short
from genpipe.words import number

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES, RESULTS = ROOT / "docs" / "results.md", ROOT / "docs" / "images", ROOT / "benchmarks" / "results"
COMPARISONS = {
    "compare-2d": "A ring of eight Gaussians, whose truth is known",
    "compare-digits": "8×8 handwritten digits",
}
PICTURES = {
    "quality-time": "quality against the time of a sample",
    "likelihood-quality": "likelihood against quality",
    "precision-recall": "precision against recall",
    "samples": "the first samples of each model, as they came, below held-out data",
}
TOLD, TOLD_ON = (
    {
        "gaussian": "a mean and a covariance: what any model must beat",
        "naive-bayes": "every pixel on its own given the class: fine to classify, poor as a density",
        "kernel-density": "the training data, blurred: right where data is dense, which 64 dimensions are not",
        "mixture": "exact, instant, simple; too stiff for images",
        "autoencoder": "codes, but no model of where they lie: no likelihood, and samples by a guess",
        "vae": "fast and stable, but blurry; a bound in place of the likelihood",
        "discrete-vae": "the same of levels, with probabilities in place of densities",
        "gan": "sharp and one-pass, no likelihood, drops modes",
        "flow": "exact likelihood and one-pass samples, at the price of invertible layers",
        "pixelcnn": "the best likelihood, exact; samples pixel by pixel, so slow",
        "energy": "says what is likelier than what, not how likely; samples by Markov chains",
        "transformer": "as exact as a PixelCNN and sees further, at the price of the square of the length",
        "made": "exact and quick to train; has to find out which pixels are near each other",
        "diffusion": "the best samples and full coverage; a bound, and slow",
        "flow-matching": "a diffusion without its noise: straighter paths, fewer steps, a likelihood by an estimate",
        "vqvae": "a few tokens for an image, so that a strong prior over them is cheap",
        "latent-diffusion": "nearly diffusion's samples for a fraction of its cost; as good as its decoder",
    },
    "compare-digits",
)
SHARES = ("precision", "recall", "coverage")
SAMPLING, TRAINING = "sampling [ms/sample]", "training [s]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--render", action="store_true", help="write the page from the numbers that are there")
    parser.add_argument("--fresh", action="store_true", help="make every step again")
    parser.add_argument("--workspace", help="[default: $GENPIPE_HOME, else .genpipe]")
    options = parser.parse_args()
    if not options.render:
        for name in COMPARISONS:
            run(name, options.workspace, options.fresh)
    PAGE.write_text(page(read()), encoding="utf-8")
    print(PAGE)


def run(name: str, workspace: str | None, fresh: bool) -> None:
    """Runs one comparison, and keeps its numbers and its pictures."""
    import genpipe

    folder = genpipe.run(name, workspace=workspace, fresh=fresh, tracking="off").one("comparison")
    shutil.copy(folder / COMPARISON, RESULTS / f"{name}.json")
    for picture in PICTURES:
        if (folder / f"{picture}.png").exists():
            shutil.copy(folder / f"{picture}.png", IMAGES / f"{name}-{picture}.png")


def read() -> dict[str, Comparison]:
    return {name: Comparison.read(RESULTS / f"{name}.json") for name in COMPARISONS}


def page(comparisons: dict[str, Comparison]) -> str:
    """The whole page."""
    parts = [
        "# Results",
        "What the families that ship with genpipe are like, measured side by side. This page is written by "
        "`python -m benchmarks.comparisons`, which runs `genpipe compare` on the recipes below; the numbers are in "
        "[benchmarks/results](../benchmarks/results). No model was tuned to win: each has the settings of its own recipe, and "
        "these are small models, trained in minutes on a CPU. [Comparisons](compare.md) says how to make such a page of one's "
        "own.",
        "## What textbooks tell, measured",
        _textbook(comparisons[TOLD_ON]),
    ]
    for name, heading in COMPARISONS.items():
        parts += _section(name, heading, comparisons[name])
    return "\n\n".join(parts) + "\n"


def _textbook(comparison: Comparison) -> str:
    quality = _quality(comparison)
    columns = ["bits/dim", quality, *SHARES, SAMPLING, TRAINING]
    header = ["", "textbooks say", *(short(comparison, column) for column in columns)]
    lines = [header, ["---", "---", *["---:"] * len(columns)]]
    for row in comparison.rows:
        if row.name == "oracle" or row.is_model:
            told = TOLD.get(row.name, "real data, held out: what a perfect model would get" if not row.is_model else "")
            lines.append([f"**{row.name}**", told, *(_cell(row, column) for column in columns)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join(
        [f"On {COMPARISONS[TOLD_ON]}:", table, "\n".join(f"- {line}" for line in _sayings(comparison, quality))]
    )


def _cell(row: Row, column: str) -> str:
    text = cell_text(row.cell(column))
    return f"**{text}**" if text.is_best else str(text)


def _sayings(comparison: Comparison, quality: str) -> list[str]:
    """What the numbers say, in sentences: of the best where one is beyond errors, of the range where it is not."""
    lines = []
    for column, name in (
        (quality, f"Quality, {short(comparison, quality)}"),
        *((share, share.capitalize()) for share in SHARES),
    ):
        lines += _best(comparison, column, name)
    exact = [row.name for row in comparison.models if (c := row.cell("bits/dim")) and c.kind == "exact"]
    bounds = [row.name for row in comparison.models if (c := row.cell("bits/dim")) and c.kind == "lower_bound"]
    none = [row.name for row in comparison.models if row.cells and row.cell("bits/dim") is None]
    lines.append(
        f"Likelihood: exact of {_and(exact)}; of {_and(bounds)} a bound, which the others' are not ranked with; "
        f"{_and(none)} without any."
    )
    lines += _best(comparison, "bits/dim", "Exact likelihood, bits/dim", kind="exact")
    lines += _range(comparison, SAMPLING, "Time of a sample")
    lines += _range(comparison, TRAINING, "Training")
    return lines


def _best(comparison: Comparison, column: str, name: str, kind: str | None = None) -> list[str]:
    cells = {row.name: c for row in comparison.models if (c := row.cell(column)) is not None and c.kind == kind}
    if not cells:
        return []
    best = [row for row, cell in cells.items() if cell.is_best]
    if best:
        return [f"{name}: {best[0]} is better than all others, beyond errors."]
    ahead = sorted(cells, key=lambda row: cells[row].value, reverse=_is_higher_better(cells))[:2]
    shown = " and ".join(f"{row} ({cell_text(cells[row])})" for row in ahead)
    return [f"{name}: {shown} are ahead, and nobody is beyond errors."]


def _is_higher_better(cells: dict[str, Cell]) -> bool:
    return next(iter(cells.values())).better == "higher"


def _range(comparison: Comparison, column: str, name: str) -> list[str]:
    cells = {row.name: c.value for row in comparison.models if (c := row.cell(column)) is not None}
    if not cells:
        return []
    low, high = min(cells, key=cells.__getitem__), max(cells, key=cells.__getitem__)
    return [f"{name}: from {low} to {high} it takes {number(cells[high] / cells[low], 0)} times as long."]


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else "none"


def _quality(comparison: Comparison) -> str:
    """The first distance of the table: one that is no likelihood, no share and no cost."""
    for column in comparison.columns:
        cells = [cell for row in comparison.models if (cell := row.cell(column)) is not None]
        if all(cell.kind is None and cell.better == "lower" for cell in cells) and "[" not in column:
            return column
    raise LookupError("there is no distance in the comparison")


def _section(name: str, heading: str, comparison: Comparison) -> list[str]:
    shown = [
        f"![{heading}: {alt}](images/{name}-{picture}.png)"
        for picture, alt in PICTURES.items()
        if (IMAGES / f"{name}-{picture}.png").exists()
    ]
    return [
        f"## {heading}",
        f"`genpipe compare {name}`, seeds {', '.join(map(str, comparison.seeds))}.",
        markdown_table(comparison),
        "\n".join(f"- {line}" for line in legend(comparison, "Bold")),
        *shown,
    ]


if __name__ == "__main__":
    main()
