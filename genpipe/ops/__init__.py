"""The compiled ops: counter-based random numbers, diffusion's forward process, the pieces of an ELBO, and what
evaluation counts and sums.

Every op is a function of its arguments alone, runs on the CPU and on CUDA, compiles and exports; a float64 PyTorch
reference of each stands in genpipe.ops.reference.
"""

from genpipe.ops import loss_weights, samplers, schedules
from genpipe.ops.bernoulli import bernoulli_nll
from genpipe.ops.categorical import categorical_nll
from genpipe.ops.coupling import affine_coupling
from genpipe.ops.diffusion import q_sample, q_sample_with_noise, q_sample_with_target
from genpipe.ops.diffusion_loss import diffusion_loss
from genpipe.ops.elbo import elbo_loss, free_bits_kl
from genpipe.ops.gated_activation import gated_activation
from genpipe.ops.gaussian import gaussian_nll, gaussian_reparam
from genpipe.ops.iwae import dreg_bound, log_mean_exp
from genpipe.ops.key import key
from genpipe.ops.langevin import langevin_step
from genpipe.ops.logistic_mixture import discretized_logistic_mixture_nll
from genpipe.ops.masked_conv import masked_conv2d
from genpipe.ops.moments import Moments, merge_moments, moments
from genpipe.ops.neighbours import BallCounts, ball_counts, knn_distances
from genpipe.ops.permutation import permutation
from genpipe.ops.pixel_program import PixelMap, PixelProgram, PixelProgramBuilder
from genpipe.ops.pixelcnn import pixelcnn_sample
from genpipe.ops.random import bernoulli, gumbel, normal, rademacher, randint, uniform
from genpipe.ops.sampler_step import dynamic_threshold, sampler_step
from genpipe.ops.splines import rational_quadratic_spline

__all__ = [
    "BallCounts",
    "Moments",
    "PixelMap",
    "PixelProgram",
    "PixelProgramBuilder",
    "affine_coupling",
    "ball_counts",
    "bernoulli",
    "bernoulli_nll",
    "categorical_nll",
    "diffusion_loss",
    "discretized_logistic_mixture_nll",
    "dreg_bound",
    "dynamic_threshold",
    "elbo_loss",
    "free_bits_kl",
    "gated_activation",
    "gaussian_nll",
    "gaussian_reparam",
    "gumbel",
    "key",
    "knn_distances",
    "langevin_step",
    "log_mean_exp",
    "loss_weights",
    "masked_conv2d",
    "merge_moments",
    "moments",
    "normal",
    "permutation",
    "pixelcnn_sample",
    "q_sample",
    "q_sample_with_noise",
    "q_sample_with_target",
    "rademacher",
    "randint",
    "rational_quadratic_spline",
    "sampler_step",
    "samplers",
    "schedules",
    "uniform",
]
