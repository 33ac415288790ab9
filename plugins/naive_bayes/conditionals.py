"""Distributions of whole numbers given a class, each estimated from counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.noise import Noise

DRAWS = 256


class Conditional(nn.Module):
    """P(x | y) of x (B, D) int64 in 0 … levels − 1, with labels y (B,) int64. State in float64.

    Fitted by `begin`, `count` for each block and `finish`; each outcome's count begins at alpha.
    """

    def __init__(self, spec: DataSpec, alpha: float) -> None:
        super().__init__()
        assert spec.levels is not None
        assert spec.num_classes is not None
        self.levels, self.num_classes, self.num_dimensions, self.alpha = (
            spec.levels,
            spec.num_classes,
            spec.num_dimensions,
            alpha,
        )

    def begin(self) -> None:
        raise NotImplementedError

    def count(self, x: Tensor, y: Tensor) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """(B,) nats, float64."""
        raise NotImplementedError

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        """(B, D) int64; row i is a function of noise and noise.first_index + i alone."""
        raise NotImplementedError


class Categorical(Conditional):
    """A probability for each level of each number. log_probs: (K, D, levels). For two levels, scikit-learn's BernoulliNB,
    else its CategoricalNB."""

    log_probs: Tensor

    def __init__(self, spec: DataSpec, alpha: float) -> None:
        super().__init__(spec, alpha)
        shape = (self.num_classes, self.num_dimensions, self.levels)
        uniform = -torch.tensor(float(self.levels), dtype=torch.float64).log()
        self.register_buffer("log_probs", uniform.expand(shape).clone())

    def begin(self) -> None:
        self._counts = torch.zeros(self.log_probs.shape, dtype=torch.int64, device=self.log_probs.device)

    def count(self, x: Tensor, y: Tensor) -> None:
        cells = (
            y[:, None] * self.num_dimensions + torch.arange(self.num_dimensions, device=x.device)
        ) * self.levels + x
        self._counts += torch.bincount(cells.flatten(), minlength=self._counts.numel()).reshape(self._counts.shape)

    def finish(self) -> None:
        counts = self._counts.double() + self.alpha
        self.log_probs.copy_((counts / counts.sum(-1, keepdim=True)).log())
        del self._counts

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for k in y.unique().tolist():  # a class at a time: (B, D, levels) numbers would not fit
            rows = y == k
            total[rows] = self.log_probs[k].gather(1, x[rows].T).sum(0)
        return total

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        u = noise.uniform("number", (len(y), self.num_dimensions), dtype=torch.float64, device=y.device)
        x = torch.zeros(u.shape, dtype=torch.int64, device=y.device)
        for k in y.unique().tolist():
            rows = y == k
            x[rows] = _by_inverse(self.log_probs[k].exp(), u[rows].T.contiguous()).T
        return x


class Bernoulli(Conditional):
    """Whether a number lies in the upper half of its levels; all levels of a half are alike. logits: (K, D).

    The whole of P for two levels, as scikit-learn's BernoulliNB; for more, of a picture in black and white.
    """

    logits: Tensor

    def __init__(self, spec: DataSpec, alpha: float) -> None:
        super().__init__(spec, alpha)
        if spec.event == "sequence":
            raise UsageError(
                f"conditionals is bernoulli, and the tokens of '{spec.name}' have no order: expected categorical or multinomial"
            )
        self.register_buffer("logits", torch.zeros(self.num_classes, self.num_dimensions, dtype=torch.float64))
        self.threshold = (self.levels + 1) // 2
        self.num_upper = self.levels - self.threshold

    def begin(self) -> None:
        self._upper = torch.zeros_like(self.logits)
        self._counts = torch.zeros(self.num_classes, dtype=torch.float64, device=self.logits.device)

    def count(self, x: Tensor, y: Tensor) -> None:
        self._upper.index_add_(0, y, (x >= self.threshold).double())
        self._counts += torch.bincount(y, minlength=self.num_classes)

    def finish(self) -> None:
        upper, lower = self._upper + self.alpha, self._counts[:, None] - self._upper + self.alpha
        self.logits.copy_(upper.log() - lower.log())
        del self._upper, self._counts

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        upper = (x >= self.threshold).double()
        within = torch.tensor([self.threshold, self.num_upper], dtype=torch.float64, device=x.device).log()
        spread = within[0] * self.num_dimensions + (within[1] - within[0]) * upper.sum(1)
        return -ops.bernoulli_nll(self.logits[y], upper) - spread

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        shape = (len(y), self.num_dimensions)
        upper = noise.uniform("half", shape, dtype=torch.float64, device=y.device) < self.logits[y].sigmoid()
        u = noise.uniform("level", shape, dtype=torch.float64, device=y.device)
        return torch.where(upper, self.threshold + (u * self.num_upper).long(), (u * self.threshold).long())


class Tokens(Conditional):
    """The tokens of a sequence drawn alike at every place: the multinomial of a bag of words. log_probs: (K, levels).

    Of the sequence itself, so that no coefficient counts its orders; classes are told apart as by scikit-learn's
    MultinomialNB.
    """

    log_probs: Tensor

    def __init__(self, spec: DataSpec, alpha: float) -> None:
        super().__init__(spec, alpha)
        uniform = -torch.tensor(float(self.levels), dtype=torch.float64).log()
        self.register_buffer("log_probs", uniform.expand(self.num_classes, self.levels).clone())

    def begin(self) -> None:
        self._counts = torch.zeros(self.log_probs.shape, dtype=torch.int64, device=self.log_probs.device)

    def count(self, x: Tensor, y: Tensor) -> None:
        cells = (y[:, None] * self.levels + x).flatten()
        self._counts += torch.bincount(cells, minlength=self._counts.numel()).reshape(self._counts.shape)

    def finish(self) -> None:
        counts = self._counts.double() + self.alpha
        self.log_probs.copy_((counts / counts.sum(-1, keepdim=True)).log())
        del self._counts

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_probs[y].gather(1, x).sum(1)

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        u = noise.uniform("number", (len(y), self.num_dimensions), dtype=torch.float64, device=y.device)
        return _by_inverse(self.log_probs.exp()[y], u)


class Multinomial(Conditional):
    """Counts: a total n, then n draws among the D columns, P(x | y) = P(n | y) n! / Π x_d! Π θ_yd^x_d.

    scikit-learn's MultinomialNB with a distribution of the total, which makes it one of the data: a Gaussian on 0 …
    D (levels − 1), by its moments. Counts of `levels` and more are possible too, so that the data's own range has a
    little less than all of the probability; in samples they are clipped to it. log_shares: (K, D), log θ; log_totals:
    (K, D (levels − 1) + 1).
    """

    log_shares: Tensor
    log_totals: Tensor

    def __init__(self, spec: DataSpec, alpha: float) -> None:
        super().__init__(spec, alpha)
        num_totals = self.num_dimensions * (self.levels - 1) + 1
        shares = torch.full((self.num_classes, self.num_dimensions), 1 / self.num_dimensions, dtype=torch.float64)
        totals = torch.full((self.num_classes, num_totals), 1 / num_totals, dtype=torch.float64)
        self.register_buffer("log_shares", shares.log())
        self.register_buffer("log_totals", totals.log())

    def begin(self) -> None:
        self._counts = torch.zeros_like(self.log_shares)
        self._totals: list[Tensor] = []
        self._labels: list[Tensor] = []

    def count(self, x: Tensor, y: Tensor) -> None:
        self._counts.index_add_(0, y, x.double())
        self._totals.append(x.sum(1).double())
        self._labels.append(y)

    def finish(self) -> None:
        counts = self._counts + self.alpha
        self.log_shares.copy_((counts / counts.sum(1, keepdim=True)).log())
        totals, labels = torch.cat(self._totals), torch.cat(self._labels)
        grid = torch.arange(self.log_totals.shape[1], dtype=torch.float64, device=totals.device)
        for k in range(self.num_classes):
            own = totals[labels == k]
            variance = own.var(correction=0) + 1  # as if a count more or less were always possible
            self.log_totals[k] = (-0.5 * (grid - own.mean()).square() / variance).log_softmax(0)
        del self._counts, self._totals, self._labels

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        total, counts = x.sum(1), x.double()
        coefficient = torch.lgamma(total.double() + 1) - torch.lgamma(counts + 1).sum(1)
        return self.log_totals[y, total] + coefficient + (counts * self.log_shares[y]).sum(1)

    def draw(self, y: Tensor, noise: Noise) -> Tensor:
        u = noise.uniform("total", (len(y), 1), dtype=torch.float64, device=y.device)
        totals = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        for k in y.unique().tolist():  # a class at a time: (B, totals) numbers would not fit
            rows = y == k
            totals[rows] = _by_inverse(self.log_totals[k : k + 1].exp(), u[rows].T)[0]
        shares = self.log_shares.exp()[y]
        x = torch.zeros(len(y), self.num_dimensions, dtype=torch.int64, device=y.device)
        for start in range(0, int(totals.max()) if len(y) else 0, DRAWS):
            u = noise.uniform(f"draws {start}", (len(y), DRAWS), dtype=torch.float64, device=y.device)
            within = torch.arange(start, start + DRAWS, device=y.device) < totals[:, None]
            x.scatter_add_(1, _by_inverse(shares, u), within.long())
        return x.clamp(max=self.levels - 1)


def _by_inverse(probabilities: Tensor, u: Tensor) -> Tensor:
    """Outcomes of uniform numbers u (R, N) by the distributions of their rows, (R, V): (R, N) int64."""
    upto = probabilities.cumsum(1)
    return torch.searchsorted(upto / upto[:, -1:], u, right=True).clamp(max=probabilities.shape[1] - 1)
