"""A model at rest: what comes back, and what is said where it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, UsageError
from genpipe.persistence import load_model, save_model
from genpipe.registry import registry
from genpipe.training.loop import build_model

SPEC = DataSpec(name="plane", event="vector", shape=(2,), mean=(0.5, 1.0), std=(1.0, 2.0), class_names=("a", "b"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    family = registry().get("family", "vae")
    save_model(build_model(family, family.config_class(hidden=8, latent_dim=3), SPEC, seed=0), tmp_path)
    return tmp_path


def test_a_model_comes_back_with_its_spec_and_config(saved: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = load_model(saved, registry())
    assert torch.equal(before, torch.get_rng_state())
    assert model.spec == SPEC
    assert model.config.hidden == 8
    assert not model.training
    description = json.loads((saved / "model.json").read_text())
    assert description["family"] == "vae"
    assert description["provider"]["distribution"] == "genpipe"
    assert {p.name for p in saved.iterdir()} == {"model.json", "weights.safetensors"}


@pytest.mark.parametrize("latent_dim", [10**13, 10**18])
def test_a_model_larger_than_memory_is_told_as_such(latent_dim: int) -> None:
    family = registry().get("family", "vae")
    with pytest.raises(UsageError, match="'vae' of this size does not fit in memory: lower the sizes in its config"):
        build_model(family, family.config_class(hidden=8, latent_dim=latent_dim), SPEC, seed=0)


def change(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        fields = json.loads((folder / "model.json").read_text())
        edit(fields)
        (folder / "model.json").write_text(json.dumps(fields))

    return apply


def tensors(edit: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        weights = load_file(folder / "weights.safetensors")
        edit(weights)
        save_file(weights, folder / "weights.safetensors")

    return apply


FIRST = "encoder.first.weight"


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda f: (f / "model.json").unlink(), ArtifactError, "is no saved model: it has no model.json"),
        (lambda f: (f / "model.json").write_text("{"), ArtifactError, "model.json is damaged"),
        (lambda f: (f / "model.json").write_text("[1]"), ArtifactError, "model.json is damaged"),
        (lambda f: (f / "model.json").write_bytes(b"\xff"), ArtifactError, "model.json is damaged"),
        (change(lambda d: d.pop("config")), ArtifactError, "damaged: 'config' is missing"),
        (change(lambda d: d["provider"].pop("version")), ArtifactError, "damaged: 'version' is missing"),
        (change(lambda d: d["spec"].pop("shape")), ArtifactError, "damaged: .*shape"),
        (change(lambda d: d.update(format=99)), ArtifactError, "has format 99; this genpipe reads format 1"),
        (
            change(lambda d: d.update(family="vea", provider={"plugin": "p", "distribution": "other", "version": "3"})),
            UsageError,
            "family 'vea' by other 3 .plugin 'p'., which is not installed: .*did you mean 'vae'",
        ),
        (change(lambda d: d["config"].update(hidden=-1)), UsageError, "config.hidden: .*greater than or equal to 1"),
        (change(lambda d: d["config"].update(new=1)), UsageError, "config.new: Extra inputs"),
        (lambda f: (f / "weights.safetensors").unlink(), ArtifactError, "it has no weights.safetensors"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"abc"), ArtifactError, "weights.safetensors is damaged"),
        (
            lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:-8]),
            ArtifactError,
            "weights.safetensors is damaged",
        ),
        (tensors(lambda w: w.pop(FIRST)), ArtifactError, f"tensor '{FIRST}' is missing"),
        (tensors(lambda w: w.update(more=torch.ones(1))), ArtifactError, "tensor 'more' is not expected"),
        (
            tensors(lambda w: w.update({FIRST: torch.ones(9, 2)})),
            ArtifactError,
            r"has shape \(9, 2\) and type torch.float32, expected \(8, 2\)",
        ),
        (
            tensors(lambda w: w.update({FIRST: w[FIRST].double()})),
            ArtifactError,
            "type torch.float64, expected .* torch.float32",
        ),
        (change(lambda d: d["config"].update(hidden=9)), ArtifactError, "does not fit family 'vae' under its saved"),
    ],
)
def test_what_is_damaged_or_foreign_is_explained(
    damage: Callable[[Path], Any], error: type[Exception], says: str, saved: Path
) -> None:
    damage(saved)
    with pytest.raises(error, match=says):
        load_model(saved, registry())
