"""The sections of a recipe for the pipeline `compare`, and the options of its stage."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import Field, NonNegativeInt, StringConstraints, ValidationError, field_validator, model_validator

from genpipe.config import Config, FamilyChoice, Resources
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.single.coder import CoderSections
from genpipe.pipelines.single.config import DEFAULTS, ComputeResources
from genpipe.training.config import TrainConfig

# A part of step names ("train.vae.0"), and so of files' names.
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
FRAMING_ROWS = ("oracle", "copy", "floor")

SectionT = TypeVar("SectionT", bound=Config)


class ModelSections(Config):
    """One of the models: the sections that a recipe for one model has."""

    coder: CoderSections | None = Field(
        None,
        description="the model whose codes `model` is trained on, in place of the data; null trains it on the data",
    )
    model: FamilyChoice = Field(description="the model family: a name, or a mapping with its name and options")
    train: TrainConfig = Field(description="how to train it, where it differs from the section `train` of all")
    sample: SampleConfig = Field(description="how to draw from it, where it differs from the section `sample` of all")


class CompareOptions(Config):
    """How the comparison is shown."""

    title: str | None = Field(None, min_length=1, description="heading; null says which models on which data set")
    quality: str | None = Field(
        None, description="column that stands for quality in the trade-offs; null takes the first distance there is"
    )
    likelihood: str | None = Field(
        None, description="column of the likelihood in the trade-offs; null takes bits/dim, else nats"
    )
    num_samples: int = Field(12, ge=1, le=64, description="images of each model in the picture of samples")


class CompareStageConfig(CompareOptions):
    """Options of the stage `compare`."""

    models: tuple[Label, ...] = Field(min_length=1, description="labels of the models, in the order of rows")
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1, description="seeds of each model")


class CompareResources(Config):
    """What each step asks of the machine; no part of what it makes."""

    data: Resources = Field(DEFAULTS, description="resources of the step data")
    train: ComputeResources = Field(DEFAULTS, description="resources of each step train.LABEL.SEED, coder… and encode…")
    sample: ComputeResources = Field(DEFAULTS, description="resources of each step sample.LABEL.SEED")
    features: ComputeResources = Field(DEFAULTS, description="resources of the step features")
    evaluate: ComputeResources = Field(DEFAULTS, description="resources of each step evaluate.LABEL.SEED")
    compare: Resources = Field(DEFAULTS, description="resources of the step compare")


class CompareConfig(Config):
    """Sections of the pipeline `compare`. `train` and `sample` are the defaults of every model's own."""

    data: DataConfig = Field(description="the data set and its splits, the same for all models")
    models: dict[Label, ModelSections] = Field(min_length=1, description="label → a model's sections")
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1, description="each model is trained with each of them")
    train: TrainConfig = Field(description="how to train those that do not say otherwise")
    sample: SampleConfig = Field(description="how to draw from those that do not say otherwise")
    evaluate: EvaluateConfig = Field(description="how to score all of them")
    compare: CompareOptions = Field(description="how to show the comparison")
    resources: CompareResources = Field(description="what each step asks of the machine")

    @field_validator("models")
    @classmethod
    def _labels_are_no_framing_rows(cls, models: dict[str, ModelSections]) -> dict[str, ModelSections]:
        for label in models:
            if label in FRAMING_ROWS:
                raise ValueError(f"'{label}' is the name of a row that every comparison has; call the model otherwise")
        return models

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice, and the same run twice says nothing of the spread")
        return seeds

    @model_validator(mode="before")
    @classmethod
    def _fill_in_from_shared(cls, values: Any) -> Any:
        """What a model's section leaves out is as in the section of all, also in the recipe that a run keeps."""
        if not isinstance(values, dict) or not isinstance(values.get("models"), dict):
            return values
        models = {}
        for label, sections in values["models"].items():
            if isinstance(sections, ModelSections):
                own: dict[str, Config] = {
                    name: _merged(values[name], getattr(sections, name), label, name) for name in ("train", "sample")
                }
                if sections.coder is not None:
                    training = _merged(values["train"], sections.coder.train, label, "coder.train")
                    own["coder"] = sections.coder.model_copy(update={"train": training})
                sections = sections.model_copy(update=own)
            models[label] = sections
        return {**values, "models": models}


def _merged(shared: SectionT, own: SectionT, label: str, section: str) -> SectionT:
    given = {name: getattr(own, name) for name in own.model_fields_set}
    both = {**{name: getattr(shared, name) for name in shared.model_fields_set}, **given}
    try:
        return type(own)(**both)
    except ValidationError as error:
        messages = "; ".join(str(item["ctx"]["error"]) for item in error.errors())
        raise ValueError(f"models.{label}.{section}, with what `{section}` says: {messages}") from None
