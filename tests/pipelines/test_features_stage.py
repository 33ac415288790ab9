import json

import numpy as np
import pytest
import torch

from genpipe.artifacts import read_manifest
from genpipe.config import Component
from genpipe.data import open_split
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, PluginError, UsageError
from genpipe.parallel import InThisProcess
from genpipe.pipelines.features.compute import features_of
from genpipe.pipelines.features.default import default_extractor
from genpipe.pipelines.features.items import Item
from genpipe.pipelines.features.kept import KeptFeatures
from genpipe.pipelines.features.same import example_hashes, num_found
from genpipe.plugins.pixels.standardise import Standardise
from genpipe.registry import registry


def component(name, **options):
    return Component("feature_extractor", name, registry().get("feature_extractor", name).config_class(**options))


def test_features_of_real_data_are_what_the_restored_extractor_gives(steps):
    kept, spec = KeptFeatures(steps.features, registry()), open_split(steps.data, "train").spec
    extractor = kept.restored(kept.index.default, spec, "cpu")
    for split in ("train", "test"):
        x = torch.from_numpy(np.asarray(open_split(steps.data, split).x).copy())
        expected = features_of(extractor, "it", x)
        found = torch.from_numpy(kept.array(kept.index.default, split, "features"))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_each_extractor_is_kept_once_and_found_by_its_options(stage, runs):
    others = [{"name": "standardise", "min_relative_std": 0.5}, "identity"]
    folder = stage("features", {"default": "standardise", "others": others}, {"data": runs["grey"].data})
    kept = KeptFeatures(folder, registry())
    assert len(kept.index.extractors) == 3
    assert kept.id_of(None) == kept.id_of(component("standardise"))
    assert kept.id_of(component("standardise", min_relative_std=0.5)) != kept.id_of(None)
    with pytest.raises(UsageError, match="'standardise' with these options were not prepared; there is standardise"):
        kept.id_of(component("standardise", min_relative_std=0.25))


def test_a_second_attempt_does_not_prepare_what_the_first_did(stage, runs, tmp_path, monkeypatch):
    class Dying(InThisProcess):
        def map(self, task, shared, items):
            assert isinstance(items[0], Item)
            raise KeyboardInterrupt

    inputs = {"data": runs["grey"].data}
    with pytest.raises(KeyboardInterrupt):
        stage("features", {}, inputs, scratch=tmp_path / "kept", fan_out=Dying())
    undisturbed = stage("features", {}, inputs)
    monkeypatch.setattr(Standardise, "prepare", lambda *_: pytest.fail("prepared again"))
    again = stage("features", {}, inputs, scratch=tmp_path / "kept")
    files = [path.relative_to(again) for path in again.rglob("*.safetensors")] + [
        path.relative_to(again) for path in again.rglob("*.npy")
    ]
    assert len(files) == 5
    for path in files:
        assert (again / path).read_bytes() == (undisturbed / path).read_bytes()


def test_batches_change_no_features(stage, runs):
    folders = [stage("features", {"batch_size": size}, {"data": runs["grey"].data}) for size in (7, 256)]
    one, other = (KeptFeatures(folder, registry()) for folder in folders)
    for split in ("train", "test"):
        name = one.index.default
        np.testing.assert_array_equal(one.array(name, split, "features"), other.array(name, split, "features"))


def test_few_dimensions_are_standardised_and_images_seen_through_convolutions():
    def chosen(**spec):
        return default_extractor(DataSpec(name="it", **spec), registry()).name

    assert chosen(event="image", shape=(1, 8, 8), levels=17) == "standardise"
    assert chosen(event="vector", shape=(64,)) == "standardise"
    assert chosen(event="image", shape=(3, 32, 32), levels=256) == "random_conv"
    assert chosen(event="vector", shape=(65,)) == "pca"
    assert chosen(event="sequence", shape=(100,), levels=4) in ("pca", "standardise")


def test_held_out_examples_that_were_trained_on_are_counted(stage, tmp_path):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(100, 3)).astype(np.float32), 2, axis=0)  # each twice, in whatever split
    np.savez(tmp_path / "twice.npz", x=x)
    data = stage("data", {"dataset": {"name": "npz", "path": str(tmp_path / "twice.npz")}})
    train, test = (np.asarray(open_split(data, name).x) for name in ("train", "test"))
    same = (test[:, None] == train[None]).all(axis=2).any(axis=1).sum()
    assert 0 < same < len(test)
    features = stage("features", {}, {"data": data})
    assert KeptFeatures(features, registry()).index.num_same == {"train": same}


def test_examples_are_the_same_by_value_whatever_their_type_and_blocks():
    x = np.arange(12).reshape(6, 2)
    assert (example_hashes(x, "uint8") == example_hashes(x.astype(np.float64), "uint8")).all()
    assert example_hashes(np.array([[0.0]]), "float32") == example_hashes(np.array([[-0.0]]), "float32")
    assert len(set(example_hashes(x, "float32").tolist())) == 6
    assert num_found(example_hashes(x, "uint8"), example_hashes(x[::2], "uint8")) == 3


def test_an_extractor_that_is_another_once_restored_is_named(runs, monkeypatch):
    kept = KeptFeatures(runs["grey"].features, registry())
    spec = open_split(runs["grey"].data, "train").spec
    monkeypatch.setattr(Standardise, "fingerprint", "standardise@other")
    with pytest.raises(PluginError, match="standardise@other once restored, and was standardise@"):
        kept.restored(kept.index.default, spec, "cpu")


def test_a_damaged_artifact_says_so(tmp_path):
    with pytest.raises(ArtifactError, match=r"features\.json is no index of features"):
        KeptFeatures(tmp_path, registry())
    (tmp_path / "features.json").write_text(json.dumps({"format": 1, "default": 3}))
    with pytest.raises(ArtifactError, match=r"features\.json is no index of features"):
        KeptFeatures(tmp_path, registry())


def test_the_summary_has_the_fingerprints(steps):
    (fingerprint,) = read_manifest(steps.features).summary["features"].values()
    assert "@" in fingerprint


def test_logits_that_are_not_what_they_should_be_are_named():
    class Broken:
        def logits(self, x):
            return x.flatten(1) / 0

    from genpipe.pipelines.features.compute import logits_of

    with pytest.raises(PluginError, match="'it' gave logits that are not finite for 2 of 2 examples"):
        logits_of(Broken(), "it", torch.ones(2, 3))
