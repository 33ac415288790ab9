"""The compiled ops: counter-based random numbers, diffusion's forward process, and the pieces of an ELBO.

Every op is a function of its arguments alone, runs on the CPU and on CUDA, compiles and exports; a float64 PyTorch
reference of each stands in genpipe.ops.reference.
"""

from genpipe.ops.key import key
from genpipe.ops.random import normal, randint, uniform

__all__ = ["key", "normal", "randint", "uniform"]
