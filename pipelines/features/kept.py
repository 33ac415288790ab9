"""Extractors at rest, and the features of real data: what an artifact of kind "features" holds.

features.json                    what there is
hashes-{train,test}.npy          of examples, genpipe.pipelines.features.same
<extractor>/state.safetensors    what it is restored from
<extractor>/history.jsonl        the logged steps of its training, where it was trained
<extractor>/{train,test}-{features,logits}.npy
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from genpipe import components
from genpipe.config import Component
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, PluginError, UsageError
from genpipe.evaluation import FeatureExtractor
from genpipe.pipelines.features.compute import What
from genpipe.registry import Registry
from genpipe.validation import restore_config

FORMAT = 1
INDEX, STATE, HISTORY = "features.json", "state.safetensors", "history.jsonl"
SPLITS = ("train", "test")


def extractor_id(component: Component) -> str:
    """Names an extractor with its options: `pca-1a2b3c4d`."""
    config = json.dumps(component.config.model_dump(mode="json"), sort_keys=True)
    return f"{component.name}-{hashlib.sha256(config.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class KeptExtractor:
    """One extractor. num_logits: None where it has none."""

    name: str
    config: Mapping[str, Any]
    fingerprint: str
    num_features: int
    num_logits: int | None


@dataclass(frozen=True, kw_only=True)
class Index:
    """default: the extractor of metrics that name none; extractors: by id.

    num: examples of each split that was used. num_same: how many of "held-out" examples are also in the split "train", or in
    "features", byte for byte.
    """

    default: str
    extractors: Mapping[str, KeptExtractor]
    num: Mapping[str, int]
    num_same: Mapping[str, int]

    def write(self, folder: Path) -> None:
        (folder / INDEX).write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Index:
        path = folder / INDEX
        try:
            fields = json.loads(path.read_text())
            if fields.pop("format") != FORMAT:
                raise ArtifactError(f"{path} is of another genpipe: expected format {FORMAT}")
            extractors = {name: KeptExtractor(**kept) for name, kept in fields.pop("extractors").items()}
            return cls(extractors=extractors, **fields)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path} is no index of features: {error}") from None


class KeptFeatures:
    """An artifact of kind "features", opened. Arrays are mapped, and extractors restored, as they are asked for."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder, self._registry = folder, registry
        self.index = Index.read(folder)

    def id_of(self, component: Component | None) -> str:
        """Of the extractor that was named, and of the default where none was."""
        name = self.index.default if component is None else extractor_id(component)
        if name not in self.index.extractors:
            there = ", ".join(kept.name for kept in self.index.extractors.values())
            raise UsageError(
                f"the features '{name.rpartition('-')[0]}' with these options were not prepared; there is {there}"
            )
        return name

    def __getitem__(self, extractor: str) -> KeptExtractor:
        return self.index.extractors[extractor]

    def record(self, extractor: str) -> components.FeatureExtractor:
        record: components.FeatureExtractor = self._registry.get("feature_extractor", self[extractor].name)
        return record

    def restored(self, extractor: str, spec: DataSpec, device: str) -> FeatureExtractor:
        """Ready to compute; PluginError where it is not the one whose features these are."""
        kept, path = self[extractor], self._folder / extractor / STATE
        config = restore_config(self.record(extractor).config_class, kept.config, self._registry)
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{path} is damaged: {error}") from None
        made = restored(Component("feature_extractor", kept.name, config), state, spec, self._registry, device)
        if made.fingerprint != kept.fingerprint:
            raise PluginError(
                f"feature extractor '{kept.name}' is {made.fingerprint} once restored, and was {kept.fingerprint}"
            )
        return made

    def array(self, extractor: str, split: str, what: What) -> npt.NDArray[np.float64]:
        """(N, …) of all examples of a split, mapped; to write to it changes nobody else's."""
        path = self._folder / extractor / f"{split}-{what}.npy"
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))

    def hashes(self, split: str) -> npt.NDArray[np.uint64]:
        return np.asarray(np.load(self._folder / f"hashes-{split}.npy", allow_pickle=False))


def restored(
    component: Component, state: Mapping[str, Tensor], spec: DataSpec, registry: Registry, device: str
) -> FeatureExtractor:
    """The extractor that had this state."""
    extractor: FeatureExtractor = registry.get("feature_extractor", component.name).builder(component.config)
    extractor.device = device
    extractor.restore(spec, state)
    return extractor
