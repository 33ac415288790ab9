"""The sections of a recipe for the pipeline `external`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from genpipe.config import Config, Resources
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.pipelines.import_samples.config import ImportConfig
from genpipe.pipelines.report.config import ReportConfig
from genpipe.pipelines.single.config import ComputeResources

# Validated into the class of the field that it is the default of.
DEFAULTS: Any = {}


class ExternalResources(Config):
    """What each step asks of the machine; no part of what it makes."""

    data: Resources = Field(DEFAULTS, description="resources of the step data")
    samples: Resources = Field(DEFAULTS, description="resources of the step samples")
    features: ComputeResources = Field(DEFAULTS, description="resources of the step features")
    evaluate: ComputeResources = Field(DEFAULTS, description="resources of the step evaluate")
    report: Resources = Field(DEFAULTS, description="resources of the step report")


class ExternalConfig(Config):
    """Sections of the pipeline `external`."""

    data: DataConfig = Field(description="the data set that samples are held against, and its splits")
    samples: ImportConfig = Field(description="the samples, and how they become examples of the data's kind")
    evaluate: EvaluateConfig = Field(description="how to score them")
    report: ReportConfig = Field(description="how to show it")
    resources: ExternalResources = Field(description="what each step asks of the machine")
