"""What two models can do together, from what each can alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from genpipe.components import Family, LikelihoodKind


def composed(family: Family, parts: Mapping[str, Family]) -> Family:
    """The record of a coder of one family with a prior of another.

    likelihood: a lower bound, as far as the prior's own is exact or a lower bound; an estimate where that is one. The
    coder must have densities to both sides of its codes, and the prior one of them: else there is none.
    """
    coder, prior = parts["coder"], parts["prior"]
    kind = _kind(prior.likelihood) if "posterior" in coder.capabilities else None
    capabilities = {"sample", "encode", "decode"} | ({"log_prob"} if kind else set())
    if "path" in prior.capabilities and not prior.discrete:  # of tokens that are not drawn yet nothing can be decoded
        capabilities.add("path")
    return replace(
        family,
        summary=f"{coder.name}, and {prior.name} over its codes",
        likelihood=kind,
        events=coder.events,
        capabilities=frozenset(capabilities),
        conditional=coder.conditional or prior.conditional,
        discrete=coder.discrete,  # data is dequantised, or not, as the coder takes it
        samplers=prior.samplers,
        sampling_cost=f"{prior.sampling_cost} over codes, and one pass of the decoder",
        # The logarithm of a mean of noisy bounds is no bound: the weights must have the prior's exact density.
        estimators={"iwae": {"num_samples": 64}} if kind and prior.likelihood == "exact" else {},
        papers=tuple(dict.fromkeys((*family.papers, *coder.papers, *prior.papers))),
    )


def _kind(prior: LikelihoodKind | None) -> LikelihoodKind | None:
    if prior in ("exact", "lower_bound"):
        return "lower_bound"
    return "estimate" if prior == "estimate" else None
