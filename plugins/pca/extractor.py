"""Examples by their leading principal components (Pearson, 1901)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.evaluation import Examples, FeatureExtractor, LabelledExamples
from genpipe.feature_input import check_range, read
from genpipe.plugins.pca.components import Principal, by_covariance, by_iteration
from genpipe.plugins.pca.config import PCAConfig
from genpipe.units import Units

DEFAULT_COMPONENTS = 64
MOST_FOR_EIGH = 2048  # dimensions: there the covariance takes 32 MB and its decomposition seconds
BLOCK_BYTES = 32 << 20
LEAST_VARIANCE = 1e-12  # of a component, relative to the first: below it is rounding


class PCA(FeatureExtractor):
    """(x − mean) · directions, (B, K), over the training split; each over its deviation where whitened.

    Vectors enter standardised, as their columns have units of their own; images and sequences as they are.
    """

    def __init__(self, config: PCAConfig) -> None:
        self._config = config

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        self._use(spec)
        dims, asked = spec.num_dimensions, self._config.num_components
        most = min(dims, len(train) - 1)  # N centred examples span N − 1 dimensions
        if asked is not None and asked > most:
            raise DataError(
                f"features 'pca': num_components is {asked}, and {len(train)} training examples of {dims} "
                f"dimensions have at most {most}"
            )
        num, solver = asked or min(most, DEFAULT_COMPONENTS), self._config.solver
        if solver == "eigh" or (solver == "auto" and dims <= MOST_FOR_EIGH):
            found = by_covariance(lambda: self._blocks(train), num)
        else:
            found = by_iteration(lambda: self._blocks(train), num, self._config.num_passes)
        self._found = self._cut(found)

    def _use(self, spec: DataSpec) -> None:
        self._spec, self._units = spec, Units(spec)

    def _flat(self, x: Tensor) -> Tensor:
        z = self._units.to_network(x, None) if self._spec.event == "vector" else x
        return z.to(torch.float64).flatten(start_dim=1)

    def _blocks(self, train: Examples) -> Iterator[Tensor]:
        rows = max(1, BLOCK_BYTES // (8 * self._spec.num_dimensions))
        for start in range(0, len(train), rows):
            yield self._flat(read(train, slice(start, start + rows)))

    def _cut(self, found: Principal) -> Principal:
        """Without components that the data does not vary in: whitening would make noise of them."""
        keep = int((found.variance > LEAST_VARIANCE * found.variance[0]).sum())
        asked = self._config.num_components
        if keep < (asked or 1):
            raise DataError(
                f"features 'pca': the training split of data set '{self._spec.name}' varies in {keep} directions, "
                f"expected at least {asked or 1}"
            )
        return Principal(found.mean, found.variance[:keep], found.directions[:keep])

    def __call__(self, x: Tensor) -> Tensor:
        """DataError where x has another shape, is not finite or leaves the data set's range."""
        check_range(self._units.check(x), self._spec)
        seen = (self._flat(x) - self._found.mean) @ self._found.directions.T
        return seen / self._found.variance.sqrt() if self._config.whiten else seen

    def state(self) -> dict[str, Tensor]:
        return self._found._asdict()

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._use(spec)
        self._found = Principal(**state)

    @property
    def fingerprint(self) -> str:
        """With a digest of mean and variances to 6 digits, relative to the largest variance: rounding of sums differs
        between machines."""
        scale = float(self._found.variance[0])
        numbers = torch.cat([self._found.mean / scale**0.5, self._found.variance / scale])
        text = f"{self._config.whiten} {(numbers * 1e6).round().to(torch.int64).tolist()} {scale:.6g}"
        return f"pca@{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def build(config: PCAConfig) -> PCA:
    return PCA(config)
