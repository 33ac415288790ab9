"""The sections of a recipe for the pipeline `single`."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from genpipe.config import Config, FamilyChoice, Resources
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.report.config import ReportConfig
from genpipe.pipelines.sample.config import SampleConfig
from genpipe.training.config import TrainConfig


class ComputeResources(Resources):
    """For steps that compute all the time."""

    cpus: PositiveInt = Field(2, description="threads to compute with")


class StepResources(Config):
    """What each step asks of the machine; no part of what it makes."""

    data: Resources = Field(Resources(), description="resources of the step data")
    train: ComputeResources = Field(ComputeResources(), description="resources of the step train")
    sample: ComputeResources = Field(ComputeResources(), description="resources of the step sample")
    evaluate: ComputeResources = Field(ComputeResources(), description="resources of the step evaluate")
    report: Resources = Field(Resources(), description="resources of the step report")


class SingleConfig(Config):
    """Sections of the pipeline `single`."""

    data: DataConfig = Field(description="the data set and its splits")
    model: FamilyChoice = Field(description="the model family: a name, or a mapping with its name and options")
    train: TrainConfig = Field(TrainConfig(), description="how to train it")
    sample: SampleConfig = Field(SampleConfig(), description="how to draw from it")
    evaluate: EvaluateConfig = Field(description="how to score it")
    report: ReportConfig = Field(ReportConfig(), description="how to show it")
    resources: StepResources = Field(StepResources(), description="what each step asks of the machine")
