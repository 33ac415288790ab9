"""What the page is made of, read once from the artifacts and their manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genpipe.artifacts import Manifest, read_manifest
from genpipe.components import Dataset, Family
from genpipe.config import Config
from genpipe.data import Split, open_split
from genpipe.dataspec import DataSpec
from genpipe.model import Model
from genpipe.persistence import describe_model, load_model
from genpipe.pipelines.evaluate.likelihoods import ExampleLikelihoods
from genpipe.pipelines.features.kept import KeptFeatures
from genpipe.pipelines.sample.draw import Drawing
from genpipe.registry import Registry
from genpipe.table import Table
from genpipe.validation import restore_config

Array = npt.NDArray[Any]
PORTS = ("data", "model", "samples", "features", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """folders, manifests: of each port's artifact; nearest: the arrays of nearest.npz; likelihoods: of single examples,
    where the model has a density; features: extractors and what they gave of real data; history: the logged steps of
    training; device: where the model is to work. Samples that came without a model have no family, and no drawing.
    """

    folders: Mapping[str, Path]
    manifests: Mapping[str, Manifest]
    registry: Registry
    device: str
    family: Family | None
    train: Split
    test: Split
    samples: Array
    labels: Array | None
    drawing: Drawing | None
    table: Table
    nearest: Mapping[str, Array]
    likelihoods: ExampleLikelihoods | None
    features: KeptFeatures
    history: list[dict[str, float]]

    @property
    def spec(self) -> DataSpec:
        return self.train.spec

    @property
    def subject(self) -> str:
        """What the page is about: a family, or samples that came without one."""
        return self.table.subject.title if self.family is None else self.family.name

    @property
    def capabilities(self) -> frozenset[str]:
        """What the model can, nothing where there is none."""
        return frozenset() if self.family is None else self.family.capabilities

    @property
    def dataset(self) -> str:
        return str(self.manifests["data"].config["dataset"]["name"])

    @cached_property
    def dataset_record(self) -> tuple[Dataset, Config]:
        """The data set's record and its options."""
        options = dict(self.manifests["data"].config["dataset"])
        record: Dataset = self.registry.get("dataset", options.pop("name"))
        return record, restore_config(record.config_class, options, self.registry)

    @cached_property
    def model(self) -> Model:
        """The trained model, for the panels that ask it something."""
        return load_model(self.folders["model"], self.registry, self.device)


def read_contents(inputs: Mapping[str, Path], registry: Registry, device: str) -> Contents:
    """inputs: port → folder of the artifact."""
    manifests = {port: read_manifest(inputs[port]) for port in PORTS if port in inputs}
    history: list[dict[str, float]] = []
    if "model" in inputs and (inputs["model"] / "history.jsonl").exists():
        history = [json.loads(line) for line in (inputs["model"] / "history.jsonl").read_text().splitlines()]
    drawing = inputs["samples"] / "drawing.json"
    labels, likelihoods = inputs["samples"] / "labels.npy", inputs["evaluation"] / "likelihoods.npz"
    with np.load(inputs["evaluation"] / "nearest.npz", allow_pickle=False) as arrays:
        nearest = dict(arrays)
    return Contents(
        folders=inputs,
        manifests=manifests,
        registry=registry,
        device=device,
        family=describe_model(inputs["model"], registry).family if "model" in manifests else None,
        train=open_split(inputs["data"], "train"),
        test=open_split(inputs["data"], "test"),
        samples=np.load(inputs["samples"] / "samples.npy", allow_pickle=False),
        labels=np.load(labels, allow_pickle=False) if labels.exists() else None,
        drawing=Drawing.read(drawing) if drawing.exists() else None,
        table=Table.read(inputs["evaluation"] / "table.json"),
        nearest=nearest,
        likelihoods=ExampleLikelihoods.read(likelihoods) if likelihoods.exists() else None,
        features=KeptFeatures(inputs["features"], registry),
        history=history,
    )
