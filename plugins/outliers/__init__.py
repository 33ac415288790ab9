"""Whether a model's likelihood tells data from what is none."""

from __future__ import annotations

from genpipe.components import Metric
from genpipe.hookspecs import hookimpl


@hookimpl
def register_metrics() -> list[Metric]:
    return [
        Metric(
            name="outliers",
            summary="AUROC of telling held-out data from noise, shuffled or smoothed images, or another data set by log p(x)",
            config="genpipe.plugins.outliers.config:OutliersConfig",
            build="genpipe.plugins.outliers.metric:build",
            needs="likelihood",
            axis="likelihood",
            estimator="Mann and Whitney's U, with DeLong's standard error; by NLL, typicality and complexity",
            cost="two log_prob of every held-out example",
            papers=(
                "Nalisnick, Matsukawa, Teh, Gorur & Lakshminarayanan (2019), Do Deep Generative Models Know What They Don't Know?",
                "Serrà, Álvarez, Gómez, Slizovskaia, Núñez & Luque (2020), Input Complexity and Out-of-distribution Detection",
                "DeLong, DeLong & Clarke-Pearson (1988), Comparing the Areas under Two or More Correlated ROC Curves",
            ),
        )
    ]
