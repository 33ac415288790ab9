"""Where a training keeps its weights: all on every worker, or each worker its part."""

from __future__ import annotations

import torch

from genpipe.model import Model
from genpipe.training.config import TrainConfig
from genpipe.training.group import Group, TorchGroup
from genpipe.training.weights import Weights


def weights_of(model: Model, config: TrainConfig, group: Group, device: torch.device) -> Weights:
    """The model's weights on this worker's device, as `config.parallel` has them; one worker alone has all."""
    if config.parallel == "shard" and isinstance(group, TorchGroup) and group.size > 1:
        from genpipe.training.shards import Shards  # takes a second to import

        return Shards(model, group, device)
    return Weights(model.to(device), group)
