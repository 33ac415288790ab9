"""Three digits in the channels of one image: 1,000 modes that a classifier can tell apart.

Metz et al. (2017), sec. 3.3.1, and Srivastava et al. (2017), sec. 4.2, stack MNIST so to count the modes that a model
covers; 26,000 samples are the custom.
"""

from __future__ import annotations

from genpipe.data import RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.digits import data
from genpipe.plugins.digits.config import DigitsConfig, StackedDigitsConfig

CHANNELS = 3


def build(config: StackedDigitsConfig, seed: int) -> RawData:
    """x: (N, 3, 8, 8) uint8, levels 0 … 16; y: (N,), the number that the channels read, 0 … 999.

    Each channel is one of scikit-learn's 1,797 digits, drawn with replacement: example i is a function of (seed, i). So
    the splits share digits, though hardly ever all three.
    """
    digits = data.build(DigitsConfig(limit=None), seed)
    assert digits.y is not None
    chosen = Noise(seed, "stacked_digits").randint("digits", len(digits.x), (config.num_examples, CHANNELS)).numpy()
    spec = DataSpec(
        name="stacked_digits",
        event="image",
        shape=(CHANNELS, *digits.x.shape[2:]),
        levels=digits.spec.levels,
        num_classes=10**CHANNELS,
        class_names=tuple(f"{number:0{CHANNELS}d}" for number in range(10**CHANNELS)),
    )
    return RawData(spec, digits.x[chosen, 0], digits.y[chosen] @ [100, 10, 1])
