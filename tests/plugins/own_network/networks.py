"""Networks as users write them, made by functions that the extractor `module` is told of."""

import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, track_running_stats=not norm)
        self.dropout, self.always = dropout, norm
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.norm(self.convolution(x)).relu().mean(dim=(2, 3))
        h = nn.functional.dropout(h, self.dropout, training=True)
        return {"features": h, "logits": self.head(h)}


def small(spec):
    return Small()


def with_dropout(spec):
    return Small(dropout=0.5)


def with_batch_statistics(spec):
    return Small(norm=True)


def mean_colour(spec):
    return lambda x: x.mean(dim=(2, 3))


def not_flat(spec):
    return lambda x: x


def infinite(spec):
    return lambda x: x.flatten(1) / 0


def no_network(spec):
    return 3


def that_fails(spec):
    raise RuntimeError("no weights here")


def one_hot_means(spec):
    return lambda x: nn.functional.one_hot(x, spec.levels).double().mean(dim=1)


def sum_of_bytes(spec):
    def network(x):
        assert x.dtype == torch.uint8
        return x.flatten(1).sum(dim=1, keepdim=True).double()

    return network


class Flat(nn.Module):
    """Takes any kind of data; logits of three classes."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.features, self.logits = nn.Linear(num, 6), nn.Linear(num, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = x.flatten(start_dim=1).float()
        return self.features(h), self.logits(h)


def flat(spec):
    return Flat(spec.num_dimensions)
