"""The compiled ops: counter-based random numbers, diffusion's forward process, and the pieces of an ELBO.

Every op is a function of its arguments alone, runs on the CPU and on CUDA, compiles and exports; a float64 PyTorch
reference of each stands in genpipe.ops.reference.
"""

from genpipe.ops.bernoulli import bernoulli_nll
from genpipe.ops.diffusion import q_sample, q_sample_with_noise, q_sample_with_target
from genpipe.ops.diffusion_loss import diffusion_loss
from genpipe.ops.gaussian import gaussian_nll, gaussian_reparam
from genpipe.ops.key import key
from genpipe.ops.logistic_mixture import discretized_logistic_mixture_nll
from genpipe.ops.masked_conv import masked_conv2d
from genpipe.ops.permutation import permutation
from genpipe.ops.pixel_program import PixelMap, PixelProgram, PixelProgramBuilder
from genpipe.ops.pixelcnn import pixelcnn_sample
from genpipe.ops.random import bernoulli, gumbel, normal, rademacher, randint, uniform

__all__ = [
    "PixelMap",
    "PixelProgram",
    "PixelProgramBuilder",
    "bernoulli",
    "bernoulli_nll",
    "diffusion_loss",
    "discretized_logistic_mixture_nll",
    "gaussian_nll",
    "gaussian_reparam",
    "gumbel",
    "key",
    "masked_conv2d",
    "normal",
    "permutation",
    "pixelcnn_sample",
    "q_sample",
    "q_sample_with_noise",
    "q_sample_with_target",
    "rademacher",
    "randint",
    "uniform",
]
