"""Each op again in plain PyTorch, one formula a line: what the compiled ones are tested against.

Slow and exact where it matters: the random numbers are computed bit for bit in integers, everything else in the dtype
that it is given. All of it is differentiable any number of times.
"""

from genpipe.ops.reference.diffusion import diffusion_loss, q_sample, q_sample_target
from genpipe.ops.reference.elbo import (
    bernoulli_nll,
    categorical_nll,
    elbo_loss,
    gaussian_nll,
    gaussian_reparam,
    log_mean_exp,
)
from genpipe.ops.reference.flows import affine_coupling, langevin_step, rational_quadratic_spline
from genpipe.ops.reference.logistic_mixture import discretized_logistic_mixture_nll
from genpipe.ops.reference.masked_conv import conv_mask, gated_activation, masked_conv2d
from genpipe.ops.reference.moments import centre_rows, column_mean, moments
from genpipe.ops.reference.neighbours import ball_counts, distances, knn_distances
from genpipe.ops.reference.permutation import permutation
from genpipe.ops.reference.random import bernoulli, gumbel, normal, philox, rademacher, randint, uniform, words
from genpipe.ops.reference.sampler_step import denoise, dynamic_threshold, sampler_step

__all__ = [
    "affine_coupling",
    "ball_counts",
    "bernoulli",
    "bernoulli_nll",
    "categorical_nll",
    "centre_rows",
    "column_mean",
    "conv_mask",
    "denoise",
    "diffusion_loss",
    "discretized_logistic_mixture_nll",
    "distances",
    "dynamic_threshold",
    "elbo_loss",
    "gated_activation",
    "gaussian_nll",
    "gaussian_reparam",
    "gumbel",
    "knn_distances",
    "langevin_step",
    "log_mean_exp",
    "masked_conv2d",
    "moments",
    "normal",
    "permutation",
    "philox",
    "q_sample",
    "q_sample_target",
    "rademacher",
    "randint",
    "rational_quadratic_spline",
    "sampler_step",
    "uniform",
    "words",
]
