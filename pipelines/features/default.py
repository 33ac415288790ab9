"""Which features an evaluation rests on where its recipe names none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from genpipe.config import Component
from genpipe.dataspec import DataSpec
from genpipe.pipelines.features.config import FeaturesConfig
from genpipe.registry import Registry

FEW_DIMENSIONS = 64
"""Up to these, plain distances of standardised values mean something."""

FEW = ("standardise",)
IMAGES = ("random_conv", "pca", "standardise")
OTHERS = ("pca", "standardise")


def default_extractor(spec: DataSpec, registry: Registry) -> Component:
    """The first that is installed and takes such data: none needs training, nor anything but the data."""
    names = FEW if spec.num_dimensions <= FEW_DIMENSIONS else IMAGES if spec.event == "image" else OTHERS
    return next(
        component
        for component in _installed(names, registry)
        if spec.event in registry.get("feature_extractor", component.name).events
    )


def candidates(config: FeaturesConfig, registry: Registry) -> Iterator[Component]:
    """What the stage may choose."""
    if config.default is None:
        yield from _installed(tuple(dict.fromkeys((*FEW, *IMAGES, *OTHERS))), registry)


def _installed(names: Sequence[str], registry: Registry) -> Iterator[Component]:
    known = registry.names("feature_extractor")
    for name in names:
        if name in known:
            yield Component("feature_extractor", name, registry.get("feature_extractor", name).config_class())
