"""Energy-based models (LeCun et al., 2006) as a genpipe family."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

ENERGY = Family(
    name="energy",
    summary="energy-based model: an unnormalised density by persistent contrastive divergence, scores or noise contrast",
    config="genpipe.plugins.energy.config:EnergyConfig",
    build="genpipe.plugins.energy.model:build",
    likelihood="unnormalized",
    events=("image", "vector"),
    training="gradient",
    capabilities=frozenset({"sample", "path", "log_prob", "score", "energy"}),
    samplers={
        "metropolis": {"num_steps": 200, "step_size": None, "temperature": 1.0, "denoise": None},
        "langevin": {"num_steps": 200, "step_size": None, "temperature": 1.0, "denoise": None},
        "rejection": {"num_cells": 512, "denoise": None},
    },
    sampling_cost="num_steps gradients of the network; by rejection some passes",
    estimators={
        "ais": {"num_samples": 32, "num_steps": 300},
        "importance": {"num_samples": 10000},
        "quadrature": {"num_steps": 512},
    },
    max_dimensions={"rejection": 2, "quadrature": 2},
    members=(
        Member(
            "score_matching",
            "denoising score matching: the slope of the density of data with some noise, no chains in training",
            {"training": "denoising_score_matching"},
        ),
        Member(
            "noise_contrastive",
            "told from draws of the base by logistic regression, which normalises it as well",
            {"training": "noise_contrastive"},
        ),
    ),
    papers=(
        "LeCun, Chopra, Hadsell, Ranzato & Huang (2006), A Tutorial on Energy-Based Learning",
        "Tieleman (2008), Training Restricted Boltzmann Machines Using Approximations to the Likelihood Gradient",
        "Du & Mordatch (2019), Implicit Generation and Modeling with Energy-Based Models",
        "Nijkamp, Hill, Han, Zhu & Wu (2019), On the Anatomy of MCMC-Based Maximum Likelihood Learning",
        "Vincent (2011), A Connection Between Score Matching and Denoising Autoencoders",
        "Li, Chen & Sommer (2019), Learning Energy-Based Models in High-Dimensional Spaces with Multi-scale Denoising "
        "Score Matching",
        "Saremi & Hyvärinen (2019), Neural Empirical Bayes",
        "Gutmann & Hyvärinen (2010), Noise-Contrastive Estimation",
        "Grosse, Ghahramani & Adams (2015), Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo",
        "Roberts & Tweedie (1996), Exponential Convergence of Langevin Distributions and Their Discrete Approximations",
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [ENERGY]
