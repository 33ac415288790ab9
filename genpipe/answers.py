"""What models answer with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from genpipe.components import LikelihoodKind
from genpipe.estimator import Estimator


@dataclass(frozen=True)
class LogProb:
    """Log-probabilities with their kind. nats: (B,); standard_error: (B,) of draws, None where there are none.

    check: (B,) nats, what an estimator found when it tested itself: how far it may be off beyond standard_error.
    estimator: which it was, with all its options; None for the family's own way. shared_error: of standard_error, what
    all examples have in common, such as the error of log Z: a mean over examples keeps it.
    """

    nats: Tensor
    kind: LikelihoodKind
    standard_error: Tensor | None = None
    check: Tensor | None = None
    estimator: Estimator | None = None
    shared_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class LogNormalizer:
    """An estimate of log Z in nats, of a density p = exp(−energy) / Z.

    standard_error: of its draws, None where there are none. upper: what bounds it from above, where that is known.
    check: how far it may be off beyond standard_error: upper − nats, or a quadrature's own error.
    """

    nats: float
    standard_error: float | None = None
    upper: float | None = None
    check: float | None = None

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        bound = "" if self.upper is None else f"; at most {self.upper:.4g} by the reverse run"
        return f"log Z = {self.nats:.4f}{error} nats{bound}"


@dataclass(frozen=True, kw_only=True)
class SamplePath:
    """Samples on their way, for families that make them step by step.

    frames: (F, B, *event), the last what `sample` gives; labels: F of them, where each is on the way ("t = 499");
    drawn: (F, *event) bool, where a frame has values already, for families that draw one value after the other; None
    where it has them everywhere.
    """

    frames: Tensor
    labels: tuple[str, ...]
    drawn: Tensor | None = None
