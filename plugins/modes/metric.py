"""Modes found, from counts of the samples near each."""

from __future__ import annotations

import math

import torch

from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.modes.config import ModesConfig

COVERED, IN_A_MODE, KL = "modes covered", "samples in a mode [%]", "mode KL [nats]"


class ModeCoverage(Metric):
    """For data that is an even mixture of K round Gaussians.

    A sample within three deviations of its nearest centre is one of that mode (a high-quality sample of Srivastava et
    al., 2017, sec. 4.1); a mode is covered by one such sample. The KL divergence from the histogram of these over
    modes to the even one (Lin et al., 2018, sec. 4.1) is ln(K / k) where k modes share the samples evenly and the others
    have none; noise between modes has no part in it, and is told by the share of samples in a mode.
    """

    def __init__(self, config: ModesConfig) -> None:
        self._num_deviations = config.num_deviations

    def prepare(self, reference: Reference) -> None:
        self._modes = reference.modes

    def why_absent(self) -> str:
        return "" if self._modes is not None else "the data has no modes that are known"

    def shard(self, shard: Shard) -> State:
        if self._modes is None:
            return {"num": torch.tensor(len(shard.x))}
        centres = self._modes.centres.to(torch.float64)
        x = shard.x.flatten(1).to(torch.float64)
        nearest, which = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        found = which[nearest <= self._num_deviations * self._modes.std]
        return {"num": torch.tensor(len(x)), "counts": torch.bincount(found, minlength=len(centres))}

    def merge(self, first: State, second: State) -> State:
        return {name: first[name] + second[name] for name in first}

    def result(self, state: State) -> list[Estimate]:
        if "counts" not in state:
            return []
        num, counts = int(state["num"]), state["counts"].to(torch.float64)
        num_modes, found = len(counts), int(counts.sum())
        share = found / num
        likely = (found + 0.5) / (num + 1)  # Jeffreys': where all or none are in a mode the error is small, not nothing
        cells = [
            Estimate(
                name=COVERED,
                value=int((counts > 0).sum()),
                better="higher",
                num=num,
                notes=(f"of {num_modes}",),
            ),
            Estimate(
                name=IN_A_MODE,
                value=100 * share,
                standard_error=100 * math.sqrt(likely * (1 - likely) / num),
                better="higher",
                num=num,
            ),
        ]
        if not found:
            note = "no sample is in a mode"
            return [*cells, Estimate(name=KL, value=math.inf, better="lower", num=num, notes=(note,))]
        shares = counts / found
        surprise = torch.where(counts > 0, (shares * num_modes).clamp(min=1e-300).log(), 0)
        kl = float((shares * surprise).sum())
        # By the delta method, and what an even histogram scatters by, of which that knows nothing.
        variance = float((shares * surprise.square()).sum()) - kl**2
        error = math.sqrt(max(variance, 0) / found + (num_modes - 1) / (2 * found**2))
        notes: tuple[str, ...] = ()
        if found < 10 * num_modes:
            notes = (
                f"{found} samples over {num_modes} modes: an even model would have {(num_modes - 1) / 2 / found:.2g}",
            )
        return [*cells, Estimate(name=KL, value=kl, standard_error=error, better="lower", num=num, notes=notes)]


def build(config: ModesConfig) -> ModeCoverage:
    return ModeCoverage(config)
