"""What the plugin brings. Imported whenever genpipe lists what is there, so it imports nothing heavy."""

from genpipe import Family, Metric, hookimpl

INDEPENDENT_NORMAL = Family(
    name="independent_normal",
    summary="A normal distribution per dimension, all independent",
    config="genpipe_example.family:IndependentNormalConfig",
    build="genpipe_example.family:IndependentNormal",
    likelihood="exact",
    events=("image", "vector"),
    training="closed_form",
    capabilities=frozenset({"sample", "log_prob"}),
)

MEAN_ERROR = Metric(
    name="mean_error",
    summary="Distance between the mean of the samples and the mean of the training split",
    config="genpipe_example.metric:MeanErrorConfig",
    build="genpipe_example.metric:MeanError",
    needs="features",
    estimator="difference of sample means",
    cost="one pass",
)


@hookimpl
def register_families() -> list[Family]:
    return [INDEPENDENT_NORMAL]


@hookimpl
def register_metrics() -> list[Metric]:
    return [MEAN_ERROR]
