"""Naive Bayes: columns that are independent within each class, and the classes' own frequencies."""

from __future__ import annotations

from genpipe.components import Family, Member
from genpipe.hookspecs import hookimpl

NAIVE_BAYES = Family(
    name="naive_bayes",
    summary="columns independent and Gaussian within each class: p(y) Π p(x_d | y)",
    config="genpipe.plugins.naive_bayes.config:NaiveBayesConfig",
    build="genpipe.plugins.naive_bayes.gaussian:build",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob", "score"}),
    conditional=True,
    papers=(
        "Domingos & Pazzani (1997), On the Optimality of the Simple Bayesian Classifier under Zero-One Loss",
        "Chan, Golub & LeVeque (1983), Algorithms for Computing the Sample Variance",
    ),
)

DISCRETE_NAIVE_BAYES = Family(
    name="discrete_naive_bayes",
    summary="whole numbers independent within each class: of their levels, above or below the middle, or as counts",
    config="genpipe.plugins.naive_bayes.config:DiscreteNaiveBayesConfig",
    build="genpipe.plugins.naive_bayes.discrete:build",
    likelihood="exact",
    events=("image", "vector", "sequence"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob"}),
    conditional=True,
    discrete=True,
    papers=("McCallum & Nigam (1998), A Comparison of Event Models for Naive Bayes Text Classification",),
    members=(
        Member(
            "bernoulli", "each number above or below the middle", {"conditionals": "bernoulli"}, ("image", "vector")
        ),
        Member("multinomial", "counts, or the tokens of a sequence in any order", {"conditionals": "multinomial"}),
    ),
)


@hookimpl
def register_families() -> list[Family]:
    return [NAIVE_BAYES, DISCRETE_NAIVE_BAYES]
