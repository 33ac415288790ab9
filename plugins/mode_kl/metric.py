"""The histogram of samples over a classifier's classes, held against real data's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from scipy.stats import binom
from torch import Tensor

from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.mode_kl.config import ModeKLConfig

MOST_NAMED = 8
LEAST_EXPECTED = 10  # samples of the rarest class, for a count of covered classes that means something


class ModeKL(Metric):
    """KL(p ‖ q) = Σ p ln p/q in nats, p the share of each class among samples, q among the training split, both as the
    same classifier names them, so that its mistakes are in both; and the number of classes that samples cover
    (Srivastava et al., 2017, sec. 4.1). K classes of which k are left out evenly give ln K/(K − k).

    Between two draws of real data KL is about (K − 1)/2 · (1/N + 1/M), not 0: read it beside the oracle row.
    """

    calibrates_on = ("train",)

    def __init__(self, config: ModeKLConfig) -> None:
        self._min_share = config.min_share

    def prepare(self, reference: Reference) -> None:
        self._of, self._class_names = reference.fingerprint or reference.extractor, reference.spec.class_names

    def calibrate(self, real: Mapping[str, State]) -> None:
        self._real = real["train"]["count"]

    def shard(self, shard: Shard) -> State:
        assert shard.logits is not None
        return {"count": torch.bincount(shard.logits.argmax(dim=1), minlength=shard.logits.shape[1])}

    def merge(self, first: State, second: State) -> State:
        return {"count": first["count"] + second["count"]}

    def result(self, state: State) -> list[Estimate]:
        count = state["count"]
        num, num_real = int(count.sum()), int(self._real.sum())
        p, q = count.to(torch.float64) / num, self._real.to(torch.float64) / num_real
        there = q > 0
        invented = (~there & (count > 0)).nonzero().flatten().tolist()
        name = f"mode KL({self._of}) [nats]"
        if invented:
            note = f"infinite: {self._named(invented)} {'is' if len(invented) == 1 else 'are'} in samples alone"
            kl = Estimate(name=name, value=math.inf, better="lower", num=num, notes=(note,))
        else:
            value, error = _divergence(p[there], q[there], num, num_real)
            kl = Estimate(name=name, value=value, standard_error=error, better="lower", num=num)
        return [kl, self._covered(count, num * q, there, num)]

    def _covered(self, count: Tensor, expected: Tensor, there: Tensor, num: int) -> Estimate:
        least = (self._min_share * expected).ceil().clamp(min=1)
        covered = there & (count >= least)
        missed = (there & ~covered).nonzero().flatten().tolist()
        notes: tuple[str, ...] = ()
        if missed:
            notes = (f"collapsed: {self._named(missed, count, expected)}",)
        rarest = float(expected[there].min())
        if rarest < LEAST_EXPECTED:
            notes += (f"{num} samples are few: of the rarest class {rarest:.1f} are expected",)
        # Each class is covered again, in samples drawn like these, with a binomial tail of Jeffreys' share.
        likely = (count[there].to(torch.float64) + 0.5) / (num + 1)
        again = torch.as_tensor(binom.sf(least[there].numpy() - 1, num, likely.numpy()))
        return Estimate(
            name=f"modes({self._of}) of {int(there.sum())}",
            value=float(covered.sum()),
            standard_error=math.sqrt(float((again * (1 - again)).sum())),
            better="higher",
            num=num,
            notes=notes,
        )

    def _named(self, classes: list[int], count: Tensor | None = None, expected: Tensor | None = None) -> str:
        words = []
        for k in classes[:MOST_NAMED]:
            name = self._class_names[k] if k < len(self._class_names) else f"class {k}"
            if count is not None and expected is not None:
                name += f" ({int(count[k])} for {float(expected[k]):.0f})"
            words.append(name)
        more = len(classes) - MOST_NAMED
        return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def _divergence(p: Tensor, q: Tensor, num: int, num_real: int) -> tuple[float, float]:
    """KL(p ‖ q) of shares in `num` and `num_real` counts, and its standard error.

    By the delta method in both counts. Where p is q that vanishes, KL is half a χ² of K − 1 degrees over the counts, and
    the method, put to shares that are apart by chance, gives twice its variance: half of that is taken off, and half is
    the least.
    """
    value = float((torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum())
    slope = torch.where(p > 0, (p / q).log(), 0.0)
    of_samples = float((p * slope.square()).sum()) - value**2
    of_real = float((p.square() / q).sum()) - 1
    of_chance = (len(p) - 1) / 2 * (1 / num + 1 / num_real) ** 2
    return max(value, 0.0), math.sqrt(max(of_samples / num + of_real / num_real - of_chance, of_chance))


def build(config: ModeKLConfig) -> ModeKL:
    return ModeKL(config)
