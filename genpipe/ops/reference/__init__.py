"""Each op again in plain PyTorch, one formula a line: what the compiled ones are tested against.

Slow and exact where it matters: the random numbers are computed bit for bit in integers, everything else in the dtype
that it is given. All of it is differentiable any number of times.
"""

from genpipe.ops.reference.diffusion import diffusion_loss, q_sample, q_sample_target
from genpipe.ops.reference.elbo import bernoulli_nll, gaussian_nll, gaussian_reparam
from genpipe.ops.reference.logistic_mixture import discretized_logistic_mixture_nll
from genpipe.ops.reference.masked_conv import conv_mask, masked_conv2d
from genpipe.ops.reference.permutation import permutation
from genpipe.ops.reference.random import bernoulli, gumbel, normal, philox, rademacher, randint, uniform, words

__all__ = [
    "bernoulli",
    "bernoulli_nll",
    "conv_mask",
    "diffusion_loss",
    "discretized_logistic_mixture_nll",
    "gaussian_nll",
    "gaussian_reparam",
    "gumbel",
    "masked_conv2d",
    "normal",
    "permutation",
    "philox",
    "q_sample",
    "q_sample_target",
    "rademacher",
    "randint",
    "uniform",
    "words",
]
