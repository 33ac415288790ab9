import hashlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genpipe.components import load_reference
from genpipe.config import key_values
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.evaluation import INCEPTION_FINGERPRINT
from genpipe.plugins.own_network import torchscript
from genpipe.plugins.own_network.config import ModuleConfig, TorchScriptClassifierConfig
from genpipe.registry import registry
from tests.plugins.own_network.networks import Small

SPEC = DataSpec(name="images", event="image", shape=(3, 8, 8), levels=256)
X = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8)).astype(np.uint8))
GREY = DataSpec(name="grey", event="image", shape=(1, 8, 8), levels=256)
NETWORKS = "tests.plugins.own_network.networks"


def save(path: Path, network: torch.nn.Module, example: torch.Tensor, **options) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, example, strict=False, **options), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("own") / "small.pt", Small().eval(), torch.zeros(2, 3, 8, 8))


def prepared(name="torchscript", x=X, spec=SPEC, **options):
    record = registry().get("feature_extractor", name)
    made = record.builder(record.config_class(**options))
    made.prepare(spec, None, x)
    return made


def module(function, name="module", **options):
    return prepared(name, function=f"{NETWORKS}:{function}", **options)


# -- what goes in and comes out --------------------------------------------------------------------------------


def test_a_files_features_are_the_networks(small):
    features = prepared(path=str(small), output="features")(X)
    torch.manual_seed(0)
    expected = Small().eval()(X / 255)["features"].detach().double()
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_a_classifier_gives_its_logits_too(small):
    made = prepared("torchscript_classifier", path=str(small), output="features", logits_output="logits")
    assert made.logits(X).shape == (20, 5)
    probabilities = module("mean_colour").logits
    with pytest.raises(NotImplementedError):
        probabilities(X)


def test_images_are_scaled_given_channels_resized_and_normalised():
    grey = DataSpec(name="grey", event="image", shape=(1, 8, 8), low=-2.0, high=2.0)
    x = torch.full((4, 1, 8, 8), 1.0)
    options = {"channels": 3, "size": (5, 7), "range": (-1.0, 1.0), "mean": (0.5, 0.0, 0.0), "std": (1.0, 2.0, 1.0)}
    assert module("mean_colour", x=x, spec=grey, **options)(x)[0].tolist() == pytest.approx([0, 0.25, 0.5], abs=1e-6)


def test_bytes_go_in_as_they_are():
    features = module("sum_of_bytes", dtype="uint8")(X)
    assert torch.equal(features[:, 0], X.flatten(1).sum(dim=1).double())


def test_sequences_go_in_as_whole_numbers():
    spec = DataSpec(name="words", event="sequence", shape=(6,), levels=4)
    x = torch.arange(24, dtype=torch.uint8).reshape(4, 6) % 4
    assert module("one_hot_means", x=x, spec=spec)(x).shape == (4, 4)
    with pytest.raises(UsageError, match=r"size, dtype are for images, and data set 'words' has sequences"):
        module("one_hot_means", x=x, spec=spec, size=(3, 3), dtype="uint8")


# -- what it is known by ---------------------------------------------------------------------------------------


def test_the_file_travels_with_the_state(small, tmp_path):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(small.read_bytes())
    made = prepared(path=str(copy), output="features")
    copy.unlink()
    record = registry().get("feature_extractor", "torchscript")
    again = record.builder(record.config_class(path=str(copy), output="features"))
    again.restore(SPEC, made.state())
    assert torch.equal(again(X), made(X))
    assert again.fingerprint == made.fingerprint


def test_a_steps_key_knows_the_file_by_content_and_not_by_place(small, tmp_path):
    record = registry().get("feature_extractor", "torchscript")
    copy = tmp_path / "copy.pt"
    copy.write_bytes(small.read_bytes())
    here, there = (record.config_class(path=str(path), output="features") for path in (small, copy))
    assert key_values(here) == key_values(there)
    of = load_reference(record.fingerprint)
    assert of(here) == of(there) == hashlib.sha256(small.read_bytes()).hexdigest()
    copy.write_bytes(b"another")
    assert of(there) != of(here)
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.pt: No such file"):
        of(record.config_class(path=str(tmp_path / "nowhere.pt")))


def test_the_fingerprint_follows_what_the_network_is_fed(small):
    first, second = (prepared(path=str(small), output="features", **o) for o in ({}, {"range": (-1.0, 1.0)}))
    assert first.fingerprint.startswith("torchscript@")
    assert first.fingerprint != second.fingerprint


def test_a_modules_weights_are_its_state_and_its_code_is_in_the_key():
    made = module("small", output="features")
    record = registry().get("feature_extractor", "module")
    config = record.config_class(function=f"{NETWORKS}:small", output="features")
    again = record.builder(config)
    torch.manual_seed(5)
    again.restore(SPEC, made.state())
    assert torch.equal(again(X), made(X))
    assert again.fingerprint == made.fingerprint
    of = load_reference(record.fingerprint)
    assert re.fullmatch("[0-9a-f]{64}", of(config))
    with pytest.raises(DataError, match=r"no module tests\.nothing|tests.nothing cannot be found"):
        of(record.config_class(function="tests.nothing:f"))


def test_only_the_original_inception_as_it_was_used_is_called_that(small, monkeypatch):
    class Inception(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
            if return_features:
                return x.float().mean(dim=(2, 3))
            return x.float().mean(dim=(2, 3)).softmax(dim=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted, file = torch.jit.script(Inception()), io.BytesIO()
        torch.jit.save(scripted, file)
    path = small.parent / "inception.pt"
    path.write_bytes(file.getvalue())
    right = {"path": str(path), "dtype": "uint8", "arguments": {"return_features": True}}
    assert prepared(**right).fingerprint.startswith("torchscript@")  # another file
    monkeypatch.setattr(torchscript, "INCEPTION_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert prepared(**right).fingerprint == INCEPTION_FINGERPRINT
    for wrong in ({"size": (4, 4)}, {"arguments": {"return_features": False}}, {"dtype": "float32"}):
        assert prepared(**{**right, **wrong}).fingerprint.startswith("torchscript@"), wrong
    score = {**right, "logits_arguments": {"no_output_bias": True}, "probabilities": True}
    made = prepared("torchscript_classifier", **score)
    assert made.fingerprint == INCEPTION_FINGERPRINT
    torch.testing.assert_close(made.logits(X).exp().sum(dim=1), torch.ones(20, dtype=torch.float64), atol=1e-6, rtol=0)
    biased = prepared("torchscript_classifier", **{**score, "logits_arguments": {}})
    assert biased.fingerprint.startswith("torchscript_classifier@")


# -- what is not believed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("with_dropout", r"gives other numbers for the same examples: dropout or noise is left on"),
        (
            "with_batch_statistics",
            r"gives an example other numbers beside other examples: is batch normalisation in training mode\?",
        ),
        (
            "not_flat",
            r"gives features float32 \(4, 3, 8, 8\) for a batch of shape \(4, 3, 8, 8\).*expected floats \(4, D\)",
        ),
        ("infinite", r"gives features that are not finite"),
        ("no_network", r"gives a int; expected a torch\.nn\.Module"),
        ("that_fails", r"fails on the description of data set 'images': no weights here"),
        ("missing", r"cannot be imported: .*missing"),
    ],
)
def test_what_a_network_gives_is_tried_before_anything_rests_on_it(function, message):
    options = {"output": "features"} if function.startswith("with") else {}
    with pytest.raises(UsageError, match=f"features 'module': {NETWORKS}:{function} {message}"):
        module(function, **options)


def test_wrong_outputs_and_inputs_are_named(small):
    with pytest.raises(UsageError, match=r"gives a dict for its features; expected a tensor, or set output"):
        prepared(path=str(small))
    with pytest.raises(UsageError, match=r"has no output 'pool' for its features \(output\); it gives \['features'"):
        prepared(path=str(small), output="pool")
    with pytest.raises(UsageError, match=r"fails on a batch of shape \(4, 1, 8, 8\) and type float32: RuntimeError"):
        prepared(path=str(small), output="features", x=X[:, :1], spec=GREY)
    with pytest.raises(UsageError, match=r"channels is 1, and data set 'images' has images of 3; only grey"):
        prepared(path=str(small), channels=1)
    with pytest.raises(UsageError, match=r"mean has 2 numbers, expected one for each of 3 channels"):
        prepared(path=str(small), mean=(0.0, 0.0))


def test_a_file_that_is_damaged_or_another_is_named(small, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"a\.pt is no TorchScript file"):
        prepared(path=str(path))
    with pytest.raises(
        DataError, match=rf"has the SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}, expected 000"
    ):
        prepared(path=str(path), sha256="0" * 64)


def test_options_that_do_not_go_together_are_told():
    for options, message in (
        ({"output": 1, "dtype": "uint8", "range": (0, 1)}, "leave out range"),
        ({"output": 1, "range": (1, 0)}, "smaller number first"),
        ({"output": 1, "channels": 3, "mean": (0.0,)}, "one for each of 3 channels"),
        ({}, "same call's same output"),
    ):
        with pytest.raises(ValidationError, match=message):
            TorchScriptClassifierConfig(path="a.pt", **options)
    with pytest.raises(ValidationError, match="expected 64 hexadecimal digits"):
        TorchScriptClassifierConfig(path="a.pt", output=1, sha256="f58c")
    with pytest.raises(ValidationError, match=r"expected package\.module:function"):
        ModuleConfig(function="numpy.sum")
