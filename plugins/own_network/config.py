"""Options of the extractors that run a network of the user's."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from genpipe.config import Config, NotInKey

Output = int | str


class OwnNetworkConfig(Config):
    """What the network takes and gives. Images are scaled to its range, given its channels and resized, in that order;
    vectors go in as they are, float32, and sequences of levels as int64."""

    channels: PositiveInt | None = Field(
        None, description="channels of its images; grey ones are repeated; null takes the data's as they are"
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="height and width of its images; null leaves them (also for a network that resizes itself)"
    )
    resize: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how images are resized: with antialiasing, corners not aligned"
    )
    dtype: Literal["float32", "uint8"] = Field("float32", description="type of its images; uint8 is 0 … 255")
    range: tuple[float, float] | None = Field(
        None, description="what black and white are to it; null is 0 and 1, and for uint8 it is 0 and 255"
    )
    mean: tuple[float, ...] | None = Field(None, description="taken from each channel, after scaling to the range")
    std: tuple[PositiveFloat, ...] | None = Field(None, description="that each channel is then divided by")
    arguments: dict[str, bool | int | float | str] = Field({}, description="named arguments of its call")
    output: Output | None = Field(
        None, description="where it gives several tensors, which are the features: a position or a name"
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.dtype == "uint8" and (self.range is not None or self.mean is not None or self.std is not None):
            raise ValueError("dtype uint8 is 0 … 255: leave out range, mean and std")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range is {list(self.range)}; expected the smaller number first")
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given is not None and self.channels is not None and len(given) != self.channels:
                raise ValueError(f"{name} has {len(given)} numbers; expected one for each of {self.channels} channels")
        return self


class LogitsConfig(Config):
    """Where its logits are."""

    logits_output: Output | None = Field(
        None, description="which of its tensors are the logits: a position or a name; null where it gives these alone"
    )
    logits_arguments: dict[str, bool | int | float | str] | None = Field(
        None, description="named arguments of its call for logits; null takes those for features"
    )
    probabilities: bool = Field(False, description="whether it gives probabilities, whose logarithms are the logits")

    @model_validator(mode="after")
    def _tells_them_apart(self) -> Self:
        features = (getattr(self, "output", None), getattr(self, "arguments", {}))
        logits = (self.logits_output, features[1] if self.logits_arguments is None else self.logits_arguments)
        if features == logits:
            raise ValueError(
                "features and logits are the same call's same output; set output and logits_output, or logits_arguments"
            )
        return self


class TorchScriptConfig(OwnNetworkConfig):
    """Options of the extractor `torchscript`."""

    # A step's key knows the file by its content.
    path: Annotated[str, NotInKey()] = Field(description="the file, as torch.jit.save writes it")
    sha256: str | None = Field(None, description="digest that the file must have; null takes any")

    @field_validator("sha256")
    @classmethod
    def _is_a_digest(cls, sha256: str | None) -> str | None:
        if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError("expected 64 hexadecimal digits, in lower case")
        return sha256


class TorchScriptClassifierConfig(TorchScriptConfig, LogitsConfig):
    """Options of the extractor `torchscript_classifier`."""


class ModuleConfig(OwnNetworkConfig):
    """Options of the extractor `module`."""

    function: str = Field(
        description="package.module:function, which every machine can import; it is called with the data's "
        "genpipe.dataspec.DataSpec, and gives a torch.nn.Module or a function of a batch",
    )

    @field_validator("function")
    @classmethod
    def _is_a_reference(cls, function: str) -> str:
        if not re.fullmatch(r"[\w.]+:\w+", function):
            raise ValueError("expected package.module:function")
        return function


class ModuleClassifierConfig(ModuleConfig, LogitsConfig):
    """Options of the extractor `module_classifier`."""
