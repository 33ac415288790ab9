"""Typed, frozen configs. Imported only once a recipe is read: pydantic takes longer to start than `--help` may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class Config(BaseModel):
    """Base of every config: frozen, no unknown keys, finite numbers, defaults stated once, in the class."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1
        if isinstance(value, bool) and info.field_name is not None:
            kinds = set(_kinds(cls.model_fields[info.field_name].annotation))
            if kinds & {int, float} and bool not in kinds:
                raise ValueError("expected a number")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type, and those that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


CHOICE = "x-genpipe-choice"


class NotInKey:
    """Marks a field that changes how a step's result is come by, not what it is: no part of the step's key."""


@dataclass(frozen=True)
class Kind:
    """Marks a field that names a component: `model: Annotated[Component, Kind("family")]`."""

    name: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {CHOICE: self.name}  # genpipe.schema puts the registry's components in its place


@dataclass(frozen=True)
class Component:
    """A component that a recipe chose, with its validated options.

    Recipes write a bare name (`dataset: digits`) or a mapping (`{name: digits, limit: 100}`).
    """

    kind: str
    name: str
    config: Config

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.config.model_dump(mode="json")}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Names are resolved through the registry before pydantic sees them (genpipe.recipe), so that a wrong
        # option inside a component is reported with its own key.
        return core_schema.is_instance_schema(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.to_dict())
        )


def key_values(config: Any) -> Any:
    """A config as plain data without the fields that are no part of a key, at any depth."""
    if isinstance(config, Component):
        return {"name": config.name, **key_values(config.config)}
    if isinstance(config, Config):
        fields = type(config).model_fields
        kept = [name for name, field in fields.items() if not any(isinstance(m, NotInKey) for m in field.metadata)]
        plain = config.model_dump(mode="json", include=set(kept))
        return {
            name: key_values(value) if _holds_configs(value := getattr(config, name)) else plain[name] for name in kept
        }
    if isinstance(config, Mapping):
        return {str(key): key_values(value) for key, value in config.items()}
    return [key_values(item) for item in config] if isinstance(config, list | tuple) else config


def _holds_configs(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_configs(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_configs(item) for item in value)
    return isinstance(value, Component | Config)


FamilyChoice = Annotated[Component, Kind("family")]
DatasetChoice = Annotated[Component, Kind("dataset")]
MetricChoice = Annotated[Component, Kind("metric")]
FeatureExtractorChoice = Annotated[Component, Kind("feature_extractor")]

NumWorkers = Annotated[PositiveInt, NotInKey()]
"""Of a step's option `workers`: processes that share its work, each with the step's resources."""


_BUILTIN_RESOURCES = {"cpu": "cpus", "gpu": "gpus", "memory": "memory_gib"}


class Resources(Config):
    """What one step asks of the machine, for each of its workers. It computes with as many threads as it has CPUs."""

    cpus: PositiveInt = Field(1, description="CPUs, and so threads.")
    gpus: NonNegativeInt = Field(0, description="GPUs; the step computes on one where it has any.")
    memory_gib: PositiveFloat | None = Field(None, description="Memory to set aside, in GiB.")
    custom: dict[str, PositiveFloat] = Field({}, description="Amounts of resources that the cluster's nodes name.")
    accelerator_type: str | None = Field(None, description="GPU to run on, by Ray's name for it, such as H100.")

    @field_validator("custom")
    @classmethod
    def _custom_is_not_builtin(cls, custom: dict[str, float]) -> dict[str, float]:
        for name in custom:
            if field := _BUILTIN_RESOURCES.get(name.lower()):
                raise ValueError(f"'{name}' is none of the nodes' own; expected in '{field}'")
        return custom

    @model_validator(mode="after")
    def _accelerator_is_asked_for(self) -> Resources:
        if self.accelerator_type is not None and not self.gpus:
            raise ValueError(f"accelerator_type {self.accelerator_type!r} names a GPU, and gpus is 0")
        return self
