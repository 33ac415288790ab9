"""What a plugin brings: plain records that name things and say where to import them from.

A record holds no code, so that listing what is installed imports neither torch nor the plugin's own modules.
References are `"package.module:attribute"`, imported when a component is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

API_VERSION = 1

LikelihoodKind = Literal["exact", "lower_bound", "upper_bound", "estimate", "unnormalized"]
EventKind = Literal["image", "vector", "sequence"]
MetricNeeds = Literal["samples", "features", "logits", "likelihood", "densities"]
SamplerOption = float | int | None
Axis = Literal["likelihood", "quality", "diversity", "novelty"]

CAPABILITIES = ("sample", "path", "log_prob", "encode", "decode", "posterior", "score", "energy", "codec")


def load_reference(reference: str) -> Any:
    """The object that `"package.module:attribute"` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class ComponentRecord:
    """What every component says of itself.

    name: what recipes write; lower case with underscores.
    summary: one line for listings.
    config: reference to the `genpipe.config.Config` subclass with its options.
    build: reference to what makes or runs it; its signature is given by each kind below.
    """

    name: str
    summary: str
    config: str
    build: str
    api_version: int = API_VERSION

    @property
    def config_class(self) -> Any:
        return load_reference(self.config)

    @property
    def builder(self) -> Any:
        return load_reference(self.build)


@dataclass(frozen=True)
class Member:
    """A setting of a family's config that has a name of its own in the field, such as the ResNet of the VAEs.

    summary: what tells it from the others, in a line; options: of the family's config, as a recipe writes them;
    events: the kinds of data that it models, None for all of the family's.
    """

    name: str
    summary: str
    options: Mapping[str, Any]
    events: tuple[EventKind, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Family(ComponentRecord):
    """A model family. `build(config, spec: DataSpec) -> genpipe.model.Model`.

    likelihood: the kind of number that `log_prob` gives, None where there is none.
    events: the kinds of data it models.
    training: "gradient" (the shared loop calls `train_step`), "closed_form" (calls `fit`), or "composed" (is made of
        trained models, its `parts`, and `build(config, parts: Mapping[str, Model])` makes it).
    conditional: whether it can take labels y; where its config has a field `conditional`, only if that is true.
    discrete: whether it models whole numbers themselves: it sees the middles of their bins, never dequantised, and
        `log_density` gives log P of the numbers. Otherwise integer data comes dequantised, and it gives densities.
    samplers: what `sample(sampler=...)` understands, the default first, each with its options and their defaults, None
        for what the config or the sampler itself decides; empty where there is one way only.
    check_sampler: reference to `f(config, sampler: genpipe.sampler.Sampler)`, UsageError where a model of this config cannot
        sample with these numbers, so that a recipe is refused before it is trained; imports no torch.
    sampling_cost: what one sample costs, in words ("one pass", "T network evaluations").
    estimators: what `log_prob(estimator=...)` understands, ways to log p(x) beside the family's own, each with the
        options of genpipe.model.Estimator that it takes and their defaults.
    codes: the kind of data that its codes are, where another family may model them; see genpipe.codes.
    parts: names of the models that a composed family is made of.
    composed: reference to `f(family, parts: Mapping[str, Family]) -> Family`, what it can with parts of these families,
        each `configured`.
    max_dimensions: of samplers and estimators that only small data allow, the most numbers that an example may have.
    papers: citations that its docstrings refer to.
    members: named settings of the config, which answer the same questions in the same kind; others are other families.
    """

    likelihood: LikelihoodKind | None
    events: tuple[EventKind, ...]
    training: Literal["gradient", "closed_form", "composed"]
    capabilities: frozenset[str] = frozenset({"sample"})
    conditional: bool = False
    discrete: bool = False
    samplers: Mapping[str, Mapping[str, SamplerOption]] = field(default_factory=dict)
    check_sampler: str | None = None
    sampling_cost: str = "one pass"
    estimators: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    codes: EventKind | None = None
    parts: tuple[str, ...] = ()
    composed: str | None = None
    max_dimensions: Mapping[str, int] = field(default_factory=dict)
    papers: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        unknown = self.capabilities - set(CAPABILITIES)
        if unknown:
            raise ValueError(f"family '{self.name}': unknown capabilities {sorted(unknown)}")
        if ("log_prob" in self.capabilities) != (self.likelihood is not None):
            raise ValueError(f"family '{self.name}': capability log_prob and likelihood kind go together")
        names = [member.name for member in self.members]
        for member in self.members:
            if names.count(member.name) > 1:
                raise ValueError(f"family '{self.name}': two members are called '{member.name}'")
            if not set(member.events or ()) <= set(self.events):
                raise ValueError(f"family '{self.name}': member '{member.name}' models data that the family does not")
        if len({self.training == "composed", bool(self.parts), self.composed is not None}) > 1:
            raise ValueError(f"family '{self.name}': training 'composed', parts and composed go together")

    def made_of(self, parts: Mapping[str, Family]) -> Family:
        """This composed family with parts of these families, each `configured`."""
        family: Family = load_reference(self.composed or "")(self, parts)
        return family

    def takes_labels(self, config: Any) -> bool:
        """Whether a model of this config is of p(x | y), and so takes labels."""
        return self.conditional and bool(getattr(config, "conditional", True))

    def configured(self, config: Any) -> Family:
        """The family as it is under this config: conditional only where it takes labels."""
        return replace(self, conditional=self.takes_labels(config))


@dataclass(frozen=True, kw_only=True)
class Dataset(ComponentRecord):
    """A source of real examples. `build(config, seed: int)` gives genpipe.data.RawData, or a Source of any size.

    fingerprint: reference to `f(config) -> str` that changes when files outside the package change
    (their checksum); None where config and code say it all.
    log_density: reference to `f(config, x: ndarray) -> ndarray (N,)`, nats, where the true density is known.
    score: reference to `f(config, x: ndarray) -> ndarray (N, *event)`, the gradient of that in x.
    modes: reference to `f(config) -> (centres: ndarray (K, D), std: float)`, where the data has known modes.
    draw: reference to `f(config, num: int, seed: int) -> ndarray (num, *event)`, draws of the true density that are no
    examples of the data set, whatever its seed.
    suffixes: endings of the files that it reads by its option `path`, so that a bare path finds its reader.
    labelled: whether its examples have labels; None where that shows only when they are read.
    """

    events: tuple[EventKind, ...]
    fingerprint: str | None = None
    log_density: str | None = None
    score: str | None = None
    modes: str | None = None
    draw: str | None = None
    suffixes: tuple[str, ...] = ()
    labelled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Metric(ComponentRecord):
    """A number, or some, for one row of the table. `build(config) -> genpipe.evaluation.Metric`.

    needs: "samples"; "features" (samples through a feature extractor); "logits" (its logits of samples);
        "likelihood" (the row's log-probabilities of held-out data); "densities" (samples, held-out data and the row's
        log-probabilities beside the true density: rows lack it where the data set's density is not known).
    axis: the question that it answers.
    defaults_for: kinds of data that it is shown for where a recipe names no metrics; "2d" are vectors of two numbers.
    estimator, cost: in words, for listings.
    papers: citations that its docstrings refer to.
    """

    needs: MetricNeeds
    axis: Axis = "quality"
    defaults_for: tuple[EventKind | Literal["2d"], ...] = ()
    estimator: str = ""
    cost: str = ""
    papers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor(ComponentRecord):
    """Maps examples to vectors. `build(config) -> genpipe.evaluation.FeatureExtractor`.

    trains: whether it is trained on the split "features", and so needs `data.features_fraction`.
    has_logits: whether it also gives the logits of classes.
    dims: how many numbers a vector has, in words or by the name of the option that says so.
    papers: citations that its docstrings refer to.
    fingerprint: as a data set's, of files outside the package that the features rest on.
    """

    events: tuple[EventKind, ...]
    trains: bool = False
    has_logits: bool = False
    dims: str = ""
    papers: tuple[str, ...] = ()
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stage(ComponentRecord):
    """One kind of step. `build(context: genpipe.steps.StepContext) -> None` writes into `context.out`.

    takes: the input ports and the kind of artifact each accepts, with a "?" where nothing need be given; a port whose
    name ends in "*" takes any number, and with a "?" also fewer than it was to have, where steps failed. gives: the kind of artifact it makes.
    chooses: reference to `f(config, registry) -> Iterable[genpipe.config.Component]`, what the stage may choose by the
    data where its config leaves that open; their code is part of a step's key.
    as_group: whether several workers work as one group, each on a part of the same thing at the same time. Those of
    other stages do one item after the other, and one process may do all of them.
    """

    as_group: bool = False
    takes: Mapping[str, str] = field(default_factory=dict)
    gives: str
    chooses: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pipeline(ComponentRecord):
    """A graph of steps. `config` has the recipe's sections; `build(config, seed: int) -> list[genpipe.graph.Step]`.

    check: reference to `f(config, registry) -> Iterable[tuple[key, message]]`, mistakes that only show between sections.
    """

    check: str | None = None
