"""Numbers as a reader wants them: rounded by their error, with what kind of number they are."""

from __future__ import annotations

import math
import re

from genpipe.table import Estimate

MINUS = "\N{MINUS SIGN}"
KINDS = {
    "exact": "exact",
    "lower_bound": "lower bound on the log-likelihood, so upper bound on bits/dim",
    "upper_bound": "upper bound on the log-likelihood, so lower bound on bits/dim",
    "estimate": "estimate, neither bound nor exact",
    "unnormalized": "unnormalised: no likelihood",
}
CHIPS = {
    "exact": "exact",
    "lower_bound": "lower bound",
    "upper_bound": "upper bound",
    "estimate": "estimate",
    "unnormalized": "unnormalised",
}
ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def number(value: float, digits: int | None = None) -> str:
    """With `digits` decimals, or 4 significant digits."""
    if not math.isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞" if value < 0 else "not a number"
    if digits is None and value == int(value) and abs(value) < 1e6:
        digits = 0
    if digits is None:
        magnitude = math.floor(math.log10(abs(value))) if value else 0
        if magnitude >= 6 or magnitude < -4:
            return f"{value:.3g}".replace("-", MINUS)
        digits = min(max(3 - magnitude, 0), 6)
    text = f"{value:,.{digits}f}"
    if re.fullmatch(r"-0\.?0*", text):
        text = text[1:]
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)


def error_digits(error: float) -> int:
    """Decimals that show two significant digits of a standard error."""
    return min(max(1 - math.floor(math.log10(error)), 0), 6)


def relation(cell: Estimate) -> str:
    """How the true value relates to the shown one: a bound on log p turns around in bits per dimension."""
    if cell.kind in ("lower_bound", "upper_bound"):
        return "≥" if (cell.kind == "lower_bound") == (cell.better == "higher") else "≤"
    return "≈" if cell.kind == "estimate" else ""


def value_and_error(cell: Estimate) -> tuple[str, str]:
    """The value and "± error", rounded alike; the second is empty where the error is not known."""
    error = cell.standard_error
    if error is None or not math.isfinite(error) or not math.isfinite(cell.value):
        return number(cell.value), ""
    if error <= 1e-9 * abs(cell.value):  # nothing but rounding
        return number(cell.value), "± 0"
    digits = error_digits(error)
    if max(abs(cell.value), error) < 0.5 * 10**-digits:  # less than the last decimal that is shown
        return "0", "± 0"
    return number(cell.value, digits), f"± {number(error, digits)}"


def count(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
