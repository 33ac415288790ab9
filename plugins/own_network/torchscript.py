"""Features of a TorchScript file that the user names."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, last_line
from genpipe.evaluation import (
    INCEPTION_FINGERPRINT,
    INCEPTION_SHA256,
    Examples,
    LabelledExamples,
)
from genpipe.plugins.own_network.config import TorchScriptClassifierConfig, TorchScriptConfig
from genpipe.plugins.own_network.network import OwnNetwork

# How the original Inception is called: it resizes by itself, and without the bias of its last layer it gives the
# probabilities that the Inception score was made of.
INCEPTION_FEATURES: dict[str, bool | int | float | str] = {"return_features": True}
INCEPTION_LOGITS: dict[str, bool | int | float | str] = {"no_output_bias": True}


class TorchScript(OwnNetwork):
    """What the file's network gives, (B, D). The file itself is the state, so that no other machine needs its path.

    Its fingerprint is that of the original Inception (and its distances are called FID, its score IS) where the file is
    inception-2015-12-05.pt, the images have 3 channels of 8 bits, and nothing but the file resizes or scales them.
    """

    _config: TorchScriptConfig

    def __init__(self, config: TorchScriptConfig, name: str) -> None:
        super().__init__(config)
        self.name, self.where = name, f"the network in {config.path}"

    def prepare(self, spec: DataSpec, split: LabelledExamples | None, train: Examples) -> None:
        content = _read(self._config.path)
        found, wanted = hashlib.sha256(content).hexdigest(), self._config.sha256
        if wanted is not None and found != wanted:
            raise DataError(f"{self._config.path} has the SHA-256 {found}, expected {wanted}")
        self._load(spec, content)
        self._try(train)

    def _load(self, spec: DataSpec, content: bytes) -> None:
        self._content, self._digest = content, hashlib.sha256(content).hexdigest()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # files in this format will be about for long
                network = torch.jit.load(io.BytesIO(content), map_location=self.device)
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"{self._config.path} is no TorchScript file, as torch.jit.save writes it: {last_line(error)}"
            ) from None
        self._use(spec, network)
        config = self._config
        self._is_inception = (
            self._digest == INCEPTION_SHA256
            and (spec.event, spec.shape[0], spec.levels, config.dtype) == ("image", 3, 256, "uint8")
            and config.size is None
            and (config.output, config.arguments) == (None, INCEPTION_FEATURES)
            and (not isinstance(config, TorchScriptClassifierConfig) or _gives_inception_score(config))
        )

    def state(self) -> dict[str, Tensor]:
        return {"file": torch.from_numpy(np.frombuffer(self._content, dtype=np.uint8).copy())}

    def restore(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self._load(spec, state["file"].numpy().tobytes())

    @property
    def fingerprint(self) -> str:
        return INCEPTION_FINGERPRINT if self._is_inception else f"{self.name}@{self._hash(self._digest)}"


def _gives_inception_score(config: TorchScriptClassifierConfig) -> bool:
    return config.probabilities and (config.logits_output, config.logits_arguments) == (None, INCEPTION_LOGITS)


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def fingerprint(config: TorchScriptConfig) -> str:
    """The file's digest: part of a step's key."""
    path = Path(config.path).expanduser()
    try:
        about = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {config.path}: {error.strerror or error}") from None
    return _digest_of(config.path, about.st_size, about.st_mtime_ns)


@cache
def _digest_of(path: str, size: int, changed: int) -> str:
    return hashlib.sha256(_read(path)).hexdigest()


def build(config: TorchScriptConfig) -> TorchScript:
    return TorchScript(config, "torchscript")


def build_classifier(config: TorchScriptClassifierConfig) -> TorchScript:
    return TorchScript(config, "torchscript_classifier")
