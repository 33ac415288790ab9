"""The Vendi score as a metric."""

from __future__ import annotations

from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Shard, State
from genpipe.feature_sample import FeatureSample
from genpipe.plugins.vendi.config import VendiConfig
from genpipe.plugins.vendi.score import spectrum, vendi, vendi_infinity


class Vendi(Metric):
    """Knows nothing of the training split, so noise has the highest score of all: as diverse as it should be is a row
    that scores as the oracle does. It grows with the number of examples, and never beyond them or the dimensions."""

    def __init__(self, config: VendiConfig) -> None:
        self._sample, self._order_infinity = FeatureSample(config.max_examples), config.order_infinity

    def shard(self, shard: Shard) -> State:
        assert shard.features is not None
        return self._sample.of(shard.features, shard.first_index)

    def merge(self, first: State, second: State) -> State:
        return self._sample.merge(first, second)

    def result(self, state: State) -> list[Estimate]:
        num, dims = state["features"].shape
        if num < 2:
            raise GenpipeError(f"vendi needs at least 2 examples, got {num} of the row")
        found = spectrum(state["features"])
        value, error = vendi(found)
        notes: tuple[str, ...] = ()
        if value > min(num, dims) / 2:
            what = f"{num} examples" if num < dims else f"{dims} dimensions"
            notes = (f"of {min(num, dims)} at most, for {what}: features too few to show more",)
        cells = [Estimate(name="Vendi", value=value, standard_error=error, num=num, notes=notes)]
        if self._order_infinity:
            value, error = vendi_infinity(found)
            cells.append(Estimate(name="Vendi ∞", value=value, standard_error=error, num=num))
        return cells


def build(config: VendiConfig) -> Vendi:
    return Vendi(config)
