"""The results page: `python -m benchmarks.comparisons` runs comparisons and writes docs/results.md.

    python -m benchmarks.comparisons                        # those whose data ships: compare-2d, compare-digits
    python -m benchmarks.comparisons compare-fashion-cpu    # this one, whose data GENPIPE_DATA names
    python -m benchmarks.comparisons compare-fashion-cpu --run last    # the table of a run that is done, on this machine
    python -m benchmarks.comparisons --render               # the page again from the numbers that are kept

Beside the page go pictures (docs/images), numbers (benchmarks/results) and, in benchmarks/results/comparisons.json, when
and on what each was made. Steps that are in the workspace are reused; `--fresh` makes all again. Best on a quiet machine:
it tells times.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.training import device_name
from genpipe.artifacts import read_manifest
from genpipe.comparison import COMPARISON, Cell, Comparison, Row
from genpipe.comparison_text import cell_text, legend, markdown_table, short
from genpipe.words import number

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES, RESULTS = ROOT / "docs" / "results.md", ROOT / "docs" / "images", ROOT / "benchmarks" / "results"
MADE = RESULTS / "comparisons.json"
COMPARISONS = {
    "compare-2d": "A ring of eight Gaussians, whose truth is known",
    "compare-digits": "8×8 handwritten digits",
    "compare-fashion": "Fashion-MNIST on a GPU",
    "compare-fashion-cpu": "Fashion-MNIST, about a quarter of an hour of one core for each model",
}
OF_OWN_DATA = ("compare-fashion", "compare-fashion-cpu")
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
    parser.add_argument("names", nargs="*", metavar="RECIPE", help="[default: those whose data ships]")
    parser.add_argument(
        "--run", metavar="RUN", help="take the table of this run of the one RECIPE, in place of running it"
    )
    parser.add_argument("--render", action="store_true", help="write the page from the numbers that are there")
    parser.add_argument("--fresh", action="store_true", help="make every step again")
    parser.add_argument("--workspace", help="[default: $GENPIPE_HOME, else .genpipe]")
    options = parser.parse_args()
    names = options.names or [name for name in COMPARISONS if name not in OF_OWN_DATA]
    if unknown := [name for name in names if name not in COMPARISONS]:
        parser.error(f"there is no comparison {', '.join(unknown)}; there are {', '.join(COMPARISONS)}")
    if options.run and len(options.names) != 1:
        parser.error("--run is of one recipe: name it")
    if not options.render:
        for name in names:
            keep(name, run(name, options.run, options.workspace, options.fresh))
    PAGE.write_text(page(read(), made()), encoding="utf-8")
    print(PAGE)


def run(name: str, reference: str | None, workspace: str | None, fresh: bool) -> Path:
    """The comparison of a recipe, made now or taken of a run that was."""
    import genpipe
    from genpipe.errors import UsageError
    from genpipe.runs import find_run
    from genpipe.workspace import Workspace

    if reference is None:
        return genpipe.run(name, workspace=workspace, fresh=fresh, tracking="off").one("comparison")
    found = find_run(Workspace.choose(workspace), reference)
    if found.recipe != name:
        raise UsageError(f"the run {found.id} is of {found.recipe}, not of {name}")
    return found.one("comparison")


def keep(name: str, folder: Path) -> None:
    """Its numbers and pictures, and when and on what they were made; `folder` was made on this machine."""
    shutil.copy(folder / COMPARISON, RESULTS / f"{name}.json")
    for picture in PICTURES:
        if (folder / f"{picture}.png").exists():
            shutil.copy(folder / f"{picture}.png", IMAGES / f"{name}-{picture}.png")
    manifest, machine = read_manifest(folder), Comparison.read(folder / COMPARISON).machine
    facts = {
        "date": datetime.fromtimestamp(manifest.created, UTC).date().isoformat(),
        "device": device_name("cpu") if "CPU" in machine else machine,  # of CPUs a run keeps the architecture alone
        "torch": manifest.environment["torch"],
    }
    MADE.write_text(json.dumps({**made(), name: facts}, indent=1, sort_keys=True) + "\n")


def made() -> dict[str, dict[str, str]]:
    """When and on what each comparison was made: name → date, device, torch."""
    found: dict[str, dict[str, str]] = json.loads(MADE.read_text()) if MADE.exists() else {}
    return found


def read() -> dict[str, Comparison]:
    """Those that were made."""
    kept = {name: RESULTS / f"{name}.json" for name in COMPARISONS}
    return {name: Comparison.read(path) for name, path in kept.items() if path.exists()}


def page(comparisons: dict[str, Comparison], made: dict[str, dict[str, str]]) -> str:
    """The whole page. made: as the function of that name gives it."""
    parts = [
        "# Results",
        "What the families that ship with genpipe are like, measured side by side. This page is written by "
        "`python -m benchmarks.comparisons`, which runs `genpipe compare` on the recipes below; the numbers are in "
        "[benchmarks/results](../benchmarks/results). No model was tuned to win: each has the settings of its own recipe, and "
        "where it does not say otherwise these are small models, trained in minutes on a CPU. [Comparisons](compare.md) says how "
        "to make such a page of one's own.",
        "## What textbooks tell, measured",
        _textbook(comparisons[TOLD_ON]),
    ]
    for name, comparison in comparisons.items():
        parts += _section(name, comparison, made.get(name))
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


def _section(name: str, comparison: Comparison, made: dict[str, str] | None) -> list[str]:
    heading = COMPARISONS[name]
    shown = [
        f"![{heading}: {alt}](images/{name}-{picture}.png)"
        for picture, alt in PICTURES.items()
        if (IMAGES / f"{name}-{picture}.png").exists()
    ]
    where = f" Made on {made['date']} on {made['device']}, by torch {made['torch']}." if made else ""
    return [
        f"## {heading}",
        f"`genpipe compare {name}`, seed{'s' if len(comparison.seeds) > 1 else ''} {', '.join(map(str, comparison.seeds))}.{where}",
        markdown_table(comparison),
        "\n".join(f"- {line}" for line in legend(comparison, "Bold")),
        *shown,
    ]


if __name__ == "__main__":
    main()
