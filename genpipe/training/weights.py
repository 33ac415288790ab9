"""Where the weights are that workers train together: whole on every worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from genpipe.model import Model
from genpipe.training.gradients import sum_gradients
from genpipe.training.group import Group

RUNNING = nullcontext()


def clip_gradients(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Bitwise `nn.utils.clip_grad_norm_` on one device, whose sorting by device and type costs small models more."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        with torch.no_grad():
            found = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            torch._foreach_mul_(gradients, (norm / (found + 1e-6)).clamp_(max=1.0))


class Weights:
    """Every worker holds all weights, and all move them by the same numbers (Li et al., 2020).

    model: the one whose `train_step` runs. parameters: what this worker keeps of each of the model's, in their order:
    what its optimisers move, and what gets gradients.
    """

    def __init__(self, model: Model, group: Group) -> None:
        self.model, self.group = model, group
        self.parameters: list[nn.Parameter] = list(model.parameters())

    def kept(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """What this worker keeps of these parameters of `model`."""
        return list(parameters)

    # -- a step ---------------------------------------------------------------------------------------------

    def running(self) -> AbstractContextManager[None]:
        """Around every `train_step`."""
        return RUNNING

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter] | None) -> None:
        """Adds to the gradients of these of `parameters`, or of all that the loss reaches."""
        loss.backward(inputs=parameters)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients become their sum over the workers; one that no worker's loss reached stays None."""
        sum_gradients(parameters, self.group)

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        """Scales the sums down until their norm over all parameters and workers is `norm` at most."""
        clip_gradients(parameters, norm)

    def go_on(self) -> None:
        """After `backward`, and where an optimiser moved parameters: `train_step` may use them again."""

    # -- at rest --------------------------------------------------------------------------------------------

    def alike(self) -> dict[str, Tensor]:
        """What every worker holds alike, by name in the model."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    def broadcast(self, averages: Sequence[Tensor]) -> None:
        """Rank 0's initial state on every worker."""
        # Processors of different kinds may draw initial weights that differ in their last bits.
        with torch.no_grad():
            self.group.broadcast([*self.parameters, *averages, *self.model.buffers()])

    def state(self) -> Mapping[str, Tensor]:
        """The model's `state_dict`, whole. As with `whole`, all workers read it, in order, where it is in parts."""
        return self.model.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `state` gave; RuntimeError where it does not fit."""
        self.model.load_state_dict(dict(state))

    def whole(self, tensors: Mapping[str, tuple[Tensor, nn.Parameter]]) -> Mapping[str, Tensor]:
        """Tensors, each with the one of `parameters` that it belongs to, whole where they are cut as that is."""
        return {name: tensor for name, (tensor, _) in tensors.items()}

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """What this worker keeps of a tensor that `whole` gave."""
        return tensor

    def finish(self) -> None:
        """The model that was to be trained has the weights, whole, and the buffers."""
