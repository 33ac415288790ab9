"""A trained model at rest: weights.safetensors and model.json, from which it is built again. Nothing is pickled.

A composed model's parts lie below it, each in a folder of its name, and each a saved model by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from genpipe.arguments import usable_device
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, GenpipeError, UsageError
from genpipe.model import Model
from genpipe.registry import Registry
from genpipe.registry import registry as installed_registry

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"


def save_model(model: Model, folder: Path, registry: Registry | None = None) -> None:
    """Writes weights.safetensors and model.json into `folder`, which exists.

    registry: what knows the model's family; this process's own where it is None.
    """
    source = (registry or installed_registry()).find("family", model.family.name).source
    description = {
        "format": FORMAT_VERSION,
        "family": model.family.name,
        "provider": {"plugin": source.name, "distribution": source.distribution, "version": source.version},
        "config": model.config.model_dump(mode="json"),
        "spec": asdict(model.spec),
    }
    for part in model.family.parts:
        (folder / part).mkdir()
        save_model(getattr(model, part), folder / part, registry)
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    weights = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in _own_weights(model).items()}
    save_file(weights, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


@dataclass(frozen=True)
class Description:
    """What a saved model is, without its weights: its family, the family's config, and the data that it is of."""

    family: Family
    config: Any
    spec: DataSpec

    @property
    def conditional(self) -> bool:
        """Whether it is given labels, as `Model.conditional`."""
        return self.family.takes_labels(self.config)


def describe_model(folder: Path, registry: Registry) -> Description:
    """What the model is that `save_model` wrote.

    Raises as load_model does.
    """
    description = _read_description(folder / DESCRIPTION)
    name, provider = description["family"], description["provider"]
    try:
        family: Family = registry.get("family", name)
    except UsageError as error:
        raise UsageError(
            f"{folder} holds a model of family '{name}' by {provider['distribution']} {provider['version']} "
            f"(plugin '{provider['plugin']}'), which is not installed: {error}"
        ) from None
    if family.parts:
        parts = {part: describe_model(folder / part, registry) for part in family.parts}
        family = family.made_of({name: part.family.configured(part.config) for name, part in parts.items()})
    return Description(
        family, _restored(folder, description, family, registry), DataSpec.from_dict(description["spec"])
    )


def load_model(folder: Path, registry: Registry, device: torch.device | str = "cpu") -> Model:
    """The model that `save_model` wrote, in eval mode on `device`.

    Raises ArtifactError where a file is missing, damaged or does not fit the family's network, UsageError where
    no installed plugin provides the family, its options are no longer valid, or there is no such device.
    """
    device = usable_device(device)
    described = describe_model(folder, registry)
    parts = {part: load_model(folder / part, registry) for part in described.family.parts}
    # The initial weights are overwritten; drawing them must not move the caller's generators.
    with torch.random.fork_rng(devices=[]):
        model: Model = described.family.builder(described.config, parts or described.spec)
    try:
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is no saved model: it has no {WEIGHTS}") from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{folder / WEIGHTS} is damaged: {error}") from None
    for name in model.row_names:
        if name in weights and weights[name].shape[1:] == model.get_buffer(name).shape[1:]:
            model.set_rows(name, weights[name])
    _check_weights(folder / WEIGHTS, weights, model)
    # What is not there is the parts', which came with them.
    model.load_state_dict(weights, strict=not parts)
    return model.to(device).eval()


def _restored(folder: Path, description: Mapping[str, Any], family: Family, registry: Registry) -> Any:
    """The model's config; UsageError where this version of the family does not take it."""
    provider = description["provider"]
    try:
        return family.config_class(**description["config"])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        installed = registry.find("family", family.name).source
        raise UsageError(
            f"{folder / DESCRIPTION}: config.{key}: {first['msg']}; the model was saved by {provider['distribution']} "
            f"{provider['version']}, here is {installed.distribution} {installed.version}"
        ) from None


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text())
        version = description["format"]
        if version != FORMAT_VERSION:
            raise ArtifactError(f"{path} has format {version}; this genpipe reads format {FORMAT_VERSION}")
        for key in ("family", "provider", "config", "spec"):
            description[key]
        for key in ("plugin", "distribution", "version"):
            description["provider"][key]
        DataSpec.from_dict(description["spec"])
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent} is no saved model: it has no {path.name}") from None
    except KeyError as error:
        raise ArtifactError(f"{path} is damaged: {error} is missing") from None
    except GenpipeError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from None
    return dict(description)


def _own_weights(model: Model) -> dict[str, torch.Tensor]:
    """A model's state without that of its parts."""
    beginnings = tuple(f"{part}." for part in model.family.parts)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(beginnings)}


def _check_weights(path: Path, weights: dict[str, torch.Tensor], model: Model) -> None:
    """ArtifactError naming the first tensor that is missing, not expected, or of another shape."""
    expected = _own_weights(model)
    where = f"{path} does not fit family '{model.family.name}' under its saved config"
    for name, tensor in expected.items():
        if name not in weights:
            raise ArtifactError(f"{where}: tensor '{name}' is missing")
        if weights[name].shape != tensor.shape or weights[name].dtype != tensor.dtype:
            given, wanted = weights[name], tensor
            raise ArtifactError(
                f"{where}: tensor '{name}' has shape {tuple(given.shape)} and type {given.dtype}, expected "
                f"{tuple(wanted.shape)} and {wanted.dtype}"
            )
    for name in weights:
        if name not in expected:
            raise ArtifactError(f"{where}: tensor '{name}' is not expected")
