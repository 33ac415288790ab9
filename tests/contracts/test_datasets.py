"""What every registered data set keeps, ours and a stranger's alike."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from genpipe.components import Dataset, load_reference
from genpipe.data import RawData, Source, read_whole
from genpipe.dataspec import DataSpec
from genpipe.registry import registry
from tests.plugins.files.making import encoded, write_parquet, write_tar

DATASETS = [provided.record for provided in registry().all("dataset")]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def options_for(dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Options with which a data set can be built here: files are made for those that need some."""
    rng = np.random.default_rng(0)
    if dataset.name == "npz":
        np.savez(folder / "a.npz", x=rng.integers(0, 256, (20, 1, 4, 4)).astype(np.uint8), y=np.arange(20) % 3)
        return {"path": folder / "a.npz", "y": "y"}
    if dataset.name == "csv":
        rows = "\n".join(f"{a},{b},{'xy'[i % 2]}" for i, (a, b) in enumerate(rng.normal(size=(20, 2))))
        (folder / "a.csv").write_text(f"one,two,kind\n{rows}\n")
        return {"path": folder / "a.csv", "label": "kind"}
    if dataset.name == "idx":
        write_idx(folder / "images", rng.integers(0, 256, (20, 5, 6)))
        write_idx(folder / "labels.gz", np.arange(20) % 4)
        return {"images": folder / "images", "labels": folder / "labels.gz"}
    if dataset.name in ("image_folder", "webdataset", "parquet"):
        x, kinds = rng.integers(0, 256, (20, 4, 5, 3)).astype(np.uint8), ["xy"[i % 2] for i in range(20)]
        if dataset.name == "image_folder":
            for i, kind in enumerate(kinds):
                (folder / kind).mkdir(exist_ok=True)
                (folder / kind / f"{i}.png").write_bytes(encoded(x[i]))
            (folder / "z.png").write_bytes(encoded(x[0]))  # a loose file, for the test that changes one
            return {"path": folder, "labels": None}
        if dataset.name == "webdataset":
            members = [[(f"{i}.png", encoded(x[i])), (f"{i}.cls", kind.encode())] for i, kind in enumerate(kinds)]
            write_tar(folder / "a.tar", [member for sample in members for member in sample])
            return {"path": folder / "a.tar", "label": "cls"}
        write_parquet(folder / "a.parquet", {"image": [encoded(one) for one in x], "kind": kinds}, rows=8)
        return {"path": folder / "a.parquet", "label": "kind"}
    if dataset.name == "fashion_mnist":
        for part, num in (("train", 20), ("t10k", 10)):
            write_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (num, 28, 28)))
            write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(num) % 10)
        return {"folder": folder}
    if any(field.is_required() for field in dataset.config_class.model_fields.values()):
        pytest.skip(f"data set '{dataset.name}' needs options that only its own plugin knows")
    return {"num_examples": 500} if "num_examples" in dataset.config_class.model_fields else {}


def built(dataset: Dataset, folder: Path, seed: int = 0) -> tuple[Any, RawData]:
    """A config, and what is built with it, in memory."""
    config = dataset.config_class(**options_for(dataset, folder))
    data = dataset.builder(config, seed)
    return config, read_whole(data) if isinstance(data, Source) else data


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_registering_a_data_set_imports_no_numpy(dataset: Dataset) -> None:
    module = registry().find("dataset", dataset.name).source.module
    code = f"import sys, {module}; print([m for m in ('torch', 'numpy', 'pydantic', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_every_option_is_described_and_survives_json(dataset: Dataset, tmp_path: Path) -> None:
    for name, field in dataset.config_class.model_json_schema().get("properties", {}).items():
        assert field.get("description"), f"{dataset.name}.{name} has no description"
    config, _ = built(dataset, tmp_path)
    assert dataset.config_class(**json.loads(json.dumps(config.model_dump(mode="json")))) == config
    with pytest.raises(ValidationError):
        dataset.config_class(**options_for(dataset, tmp_path), no_such_option=1)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_examples_are_what_the_spec_says(dataset: Dataset, tmp_path: Path) -> None:
    _, raw = built(dataset, tmp_path)
    raw.checked()
    assert raw.spec.event in dataset.events
    assert raw.x.dtype == np.dtype(raw.spec.dtype)
    if raw.spec.event == "vector":
        assert raw.spec.mean is None  # measured on the training split, by the data stage
    if raw.y is not None:
        assert raw.spec.num_classes is not None
        assert raw.y.dtype == np.int64
        if raw.spec.class_names:
            assert len(raw.spec.class_names) == raw.spec.num_classes
    raw.spec.write(tmp_path / "spec.json")
    assert DataSpec.read(tmp_path / "spec.json") == raw.spec


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_the_same_seed_gives_the_same_examples(dataset: Dataset, tmp_path: Path) -> None:
    _, first = built(dataset, tmp_path, seed=1)
    _, second = built(dataset, tmp_path, seed=1)
    np.testing.assert_array_equal(first.x, second.x)
    if first.y is not None:
        np.testing.assert_array_equal(first.y, second.y)


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.fingerprint], ids=lambda d: d.name)
def test_the_fingerprint_changes_with_one_byte_of_a_file(dataset: Dataset, tmp_path: Path) -> None:
    config, _ = built(dataset, tmp_path)
    fingerprint = load_reference(dataset.fingerprint)
    before = fingerprint(config)
    assert fingerprint(config) == before
    path = sorted(p for p in tmp_path.iterdir() if p.is_file())[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint(config) != before


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: d.name)
def test_a_source_is_the_same_after_it_was_sent_and_in_blocks_of_bounded_size(dataset: Dataset, tmp_path: Path) -> None:
    config, raw = built(dataset, tmp_path)
    source = dataset.builder(config, 0)
    if not isinstance(source, Source):
        pytest.skip(f"data set '{dataset.name}' is in memory")
    sent = pickle.loads(pickle.dumps(source))
    surveys = [json.loads(json.dumps(sent.survey(part))) for part in source.parts]
    spec = sent.spec(surveys)
    assert spec == raw.spec
    for part, survey in zip(source.parts, surveys, strict=True):
        assert json.loads(json.dumps(part.detail)) == part.detail
        blocks = list(sent.read(part, spec))
        assert sum(len(x) for x, _ in blocks) == survey["num"]
        for x, y in blocks:
            assert x.nbytes <= 2**26
            assert y is None or y.dtype == np.int64
    np.testing.assert_array_equal(read_whole(sent).x, raw.x)


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.log_density], ids=lambda d: d.name)
def test_the_density_integrates_to_one_and_belongs_to_the_examples(dataset: Dataset, tmp_path: Path) -> None:
    config, raw = built(dataset, tmp_path)
    log_density = load_reference(dataset.log_density)
    own = log_density(config, raw.x)
    assert own.shape == (len(raw.x),)
    assert np.isfinite(own).all()
    shifted = log_density(config, raw.x + 3 * raw.x.std())
    assert own.mean() > shifted.mean() + 1
    if raw.x.shape[1:] == (2,):
        low, high = raw.x.min() - 0.5, raw.x.max() + 0.5
        ticks = np.linspace(low, high, 150)
        grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        assert np.exp(log_density(config, grid)).sum() * (ticks[1] - ticks[0]) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.score], ids=lambda d: d.name)
def test_the_score_is_the_gradient_of_the_log_density(dataset: Dataset, tmp_path: Path) -> None:
    config, raw = built(dataset, tmp_path)
    log_density, x = load_reference(dataset.log_density), raw.x[:50].astype(np.float64)
    found, step = load_reference(dataset.score)(config, x), 1e-4
    assert found.shape == x.shape
    for at in np.ndindex(*x.shape[1:]):
        moved = np.zeros(x.shape[1:])
        moved[at] = step
        slope = (log_density(config, x + moved) - log_density(config, x - moved)) / (2 * step)
        np.testing.assert_allclose(found[(slice(None), *at)], slope, rtol=1e-4, atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.draw], ids=lambda d: d.name)
def test_draws_of_the_truth_have_its_density_and_are_no_examples(dataset: Dataset, tmp_path: Path) -> None:
    config, raw = built(dataset, tmp_path)
    draw, log_density = load_reference(dataset.draw), load_reference(dataset.log_density)
    drawn = draw(config, 1000, 0)
    assert drawn.shape == (1000, *raw.x.shape[1:])
    assert drawn.dtype == raw.x.dtype
    np.testing.assert_array_equal(drawn[:10], draw(config, 10, 0))
    assert not np.isin(drawn[:, 0], raw.x[:, 0]).any()
    own, fresh = log_density(config, raw.x), log_density(config, drawn)
    error = np.hypot(own.std() / np.sqrt(len(own)), fresh.std() / np.sqrt(len(fresh)))
    assert abs(own.mean() - fresh.mean()) < 4 * error


@pytest.mark.parametrize("dataset", [d for d in DATASETS if d.modes], ids=lambda d: d.name)
def test_modes_are_where_the_examples_are(dataset: Dataset, tmp_path: Path) -> None:
    config, raw = built(dataset, tmp_path)
    centres, std = load_reference(dataset.modes)(config)
    nearest = np.linalg.norm(raw.x[:, None] - centres, axis=2).min(axis=1)
    assert (nearest < 3 * std).mean() > 0.95
