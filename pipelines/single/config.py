"""The sections of a recipe for the pipeline `single`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from genpipe.config import Config, FamilyChoice, Resources
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.report.config import ReportConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.pipelines.single.coder import CoderSections
from genpipe.training.config import TrainConfig

# Validated into the class of the field that it is the default of.
DEFAULTS: Any = {}


class ComputeResources(Resources):
    """For steps that compute all the time."""

    cpus: PositiveInt = Field(2, description="threads to compute with")


class StepResources(Config):
    """What each step asks of the machine; no part of what it makes."""

    data: Resources = Field(DEFAULTS, description="resources of the step data")
    coder: ComputeResources = Field(DEFAULTS, description="resources of the steps coder and encode")
    train: ComputeResources = Field(DEFAULTS, description="resources of the step train")
    sample: ComputeResources = Field(DEFAULTS, description="resources of the step sample")
    features: ComputeResources = Field(DEFAULTS, description="resources of the step features")
    evaluate: ComputeResources = Field(DEFAULTS, description="resources of the step evaluate")
    report: Resources = Field(DEFAULTS, description="resources of the step report")


class SingleConfig(Config):
    """Sections of the pipeline `single`. In a recipe, a section left out is a section of defaults."""

    data: DataConfig = Field(description="the data set and its splits")
    coder: CoderSections | None = Field(
        None,
        description="the model whose codes `model` is trained on, in place of the data; null trains it on the data",
    )
    model: FamilyChoice = Field(description="the model family: a name, or a mapping with its name and options")
    train: TrainConfig = Field(description="how to train it")
    sample: SampleConfig = Field(description="how to draw from it")
    evaluate: EvaluateConfig = Field(description="how to score it")
    report: ReportConfig = Field(description="how to show it")
    resources: StepResources = Field(description="what each step asks of the machine")
