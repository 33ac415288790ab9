"""Weights in parts: each worker keeps one of each parameter, and they are put together only where they are used.

Fully sharded data parallelism (Zhao et al., 2023) by torch.distributed.fsdp. Of N workers each keeps about 1/N of the
weights, gradients, averages and moments. What it needs beyond that, one after the other, are the weights of each block
(genpipe.training.blocks) while it runs, and all through a step those that are in no block.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from genpipe.errors import PluginError, first_line
from genpipe.model import Model
from genpipe.training.blocks import blocks
from genpipe.training.gradients import sum_gradients
from genpipe.training.group import GroupLost, TorchGroup
from genpipe.training.weights import Weights

DISTRIBUTED = Path(dist.__file__).parent


class Shards(Weights):
    """A model's weights in as many parts as the group has workers, cut along each parameter's first dimension.

    A copy of the model runs, whose parameters are DTensors; `parameters` are this worker's parts of them, as plain
    tensors in the same memory. A parameter without a dimension cannot be cut, and is whole on every worker. The model
    that was given is empty until `finish`.
    """

    def __init__(self, model: Model, group: TorchGroup, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where FSDP puts its parts
        with torch.no_grad():
            group.broadcast([*model.parameters(), *model.buffers()])  # see Weights.broadcast
        self.group, self._peers, self._device, self._given = group, group.peers, device, model
        self._mesh = DeviceMesh.from_group(cast(dist.ProcessGroup, dist.group.WORLD), device.type)
        self._layouts = [(p.shape, p.stride(), p.dtype) for p in model.parameters()]
        self._own_step = type(model).train_step is not Model.train_step
        self._minimizing = False
        self.model, modules = self._in_parts(model)
        self._root = cast(FSDPModule, self.model)
        self._use = self._prepared(modules)
        self._joined = list(self.model.parameters())
        self.parameters = [_part(parameter) for parameter in self._joined]
        self._places = {id(p): i for these in (self._joined, self.parameters) for i, p in enumerate(these)}
        self._reached: set[int] = set()  # places of the parameters that got a gradient here
        self._watch(modules)

    def kept(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        return [self.parameters[self._places[id(p)]] for p in parameters]

    # -- how the model is cut -------------------------------------------------------------------------------

    def _in_parts(self, model: Model) -> tuple[Model, list[FSDPModule]]:
        """The copy that runs, and its modules whose weights are put together by themselves, the whole of it last.

        Each moves to the device and is cut before the next: all of them together may not fit there.
        """
        as_cut: dict[int, Any] = {}
        for p in model.parameters():
            if p.ndim and p.is_contiguous():
                as_cut[id(p)] = p
            else:  # what is cut has to lie in order, whatever the model's own order is
                as_cut[id(p)] = nn.Parameter(p.detach().clone(memory_format=torch.contiguous_format), p.requires_grad)
        twin: Model = copy.deepcopy(model, as_cut)
        scalars = {p for p in twin.parameters() if not p.ndim}
        for p in scalars:
            p.data = p.data.to(self._device)
        modules: list[FSDPModule] = []
        for module in (*blocks(twin), twin):
            before = [p for p in module.parameters() if not isinstance(p, DTensor) and p.ndim]
            # A gradient is a sum over workers whose losses are weighed, see LoopOptimizers.
            cut = fully_shard(module, mesh=self._mesh, reshard_after_forward=module is not twin, ignored_params=scalars)
            cut.set_gradient_divide_factor(1.0)
            cut.set_force_sum_reduction_for_comms(True)  # gloo has no other
            modules.append(cut)
            for p in before:
                p.data = p.data.new_empty(0)
        for p in model.parameters():
            p.data = p.data.new_empty(0)
        return twin, modules

    def _prepared(self, modules: Sequence[FSDPModule]) -> Callable[..., Any]:
        """Runs a function as if it were the model's forward: FSDP then has what is in no block together."""
        setattr(self.model, "_use", lambda function=lambda: None: function())  # noqa: B010
        register_fsdp_forward_method(self.model, "_use")
        use: Callable[..., Any] = getattr(self.model, "_use")  # noqa: B009
        # A worker whose examples miss a parameter adds zeros to the sum, which all workers take at the same time.
        self._root.set_reduce_scatter_unused_params(True)
        self._root.set_requires_gradient_sync(False)  # but in `backward`
        self._root.set_reshard_after_backward(False, recurse=False)  # gradients within a loss leave it together
        for module in modules[:-1]:
            cast(nn.Module, module).register_forward_hook(self._find_inner_gradients)
        use()  # FSDP allocates what the parts are in now
        self._root.reshard()
        return use

    def _watch(self, modules: Sequence[FSDPModule]) -> None:
        """Has `_reached` kept."""
        for module in modules:
            module.unshard()
            for place, p in enumerate(self.model.parameters()):
                if not isinstance(p, DTensor) and isinstance(self._joined[place], DTensor) and p.requires_grad:
                    p.register_post_accumulate_grad_hook(functools.partial(self._reach, place))
            module.reshard()

    def _reach(self, place: int, parameter: Tensor) -> None:
        self._reached.add(place)

    def _find_inner_gradients(self, module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(self._keep_together)

    def _keep_together(self, gradient: Tensor) -> None:
        """A loss that takes gradients itself goes back through a block twice: from now on blocks stay together."""
        if not self._minimizing:
            self._root.set_reshard_after_forward(False)
            self._root.set_reshard_after_backward(False)

    # -- a step ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """GroupLost where another worker is gone meanwhile, PluginError where a block is used but by its forward."""
        try:
            self._use()
            yield
        except RuntimeError as error:
            if (understood := self._understood(error)) is not None:
                raise understood from error
            raise
        self._apart()

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter] | None) -> None:
        self._minimizing = True
        self._root.set_requires_gradient_sync(True)
        try:
            self._use(lambda: loss.clone()).backward()
        finally:
            self._minimizing = False
            self._root.set_requires_gradient_sync(False)
        self._apart()
        # The loss may reach other optimisers' parameters too, which it does not move.
        wanted = {self._places[id(p)] for p in (self.parameters if parameters is None else parameters)}
        for place, (joined, part) in enumerate(zip(self._joined, self.parameters, strict=True)):
            if place not in wanted:
                joined.grad = None
                self._reached.discard(place)
            elif isinstance(joined.grad, DTensor):
                part.grad = joined.grad.to_local()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Those of parts are sums already."""
        places = [self._places[id(p)] for p in parameters if isinstance(self._joined[self._places[id(p)]], DTensor)]
        num_reached = torch.tensor([float(place in self._reached) for place in places], device=self._device)
        self.group.sum([num_reached])
        if not self._reached.issuperset(places):  # else an accelerator need not be waited for
            for place, num in zip(places, num_reached.tolist(), strict=True):
                if not num:
                    self.parameters[place].grad = None
        for place in places:
            self._joined[place].grad = None
        self._reached.difference_update(places)
        if whole := [p for p in parameters if not p.ndim]:
            sum_gradients(whole, self.group)

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> None:
        mine = [p.grad for p in parameters if p.grad is not None and (p.ndim or self.group.rank == 0)]
        square = nn.utils.get_total_norm(mine, foreach=True).to(self._device).square().reshape(1)
        self.group.sum([square])
        nn.utils.clip_grads_with_norm_(parameters, norm, square.sqrt().squeeze(), foreach=True)

    def go_on(self) -> None:
        if self._own_step:
            self._use()

    def _apart(self) -> None:
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _understood(self, error: RuntimeError) -> Exception | None:
        if "mixed torch.Tensor and DTensor" in str(error):
            return PluginError(
                f"family '{self.model.family.name}' uses weights of a block but by the block's forward, or in "
                "after_step, where train.parallel=shard has them in parts: name its blocks in Model.shard_blocks, or "
                f"train with train.parallel=replicate ({first_line(error)})"
            )
        frames = traceback.extract_tb(error.__traceback__)
        place = Path(frames[-1].filename)
        if place.is_relative_to(DISTRIBUTED) and not place.is_relative_to(DISTRIBUTED / "tensor"):
            return GroupLost(f"another worker of the group is gone or silent: {first_line(error)}")
        return None

    # -- at rest --------------------------------------------------------------------------------------------

    def alike(self) -> dict[str, Tensor]:
        whole = {name: p for name, p in self.model.named_parameters() if not isinstance(p, DTensor)}
        return {**whole, **dict(self.model.named_buffers())}

    def broadcast(self, averages: Sequence[Tensor]) -> None:
        """Was done while they were whole."""

    def state(self) -> Mapping[str, Tensor]:
        return Joined({name: functools.partial(self._all_of, t) for name, t in self.model.state_dict().items()})

    def load(self, state: Mapping[str, Tensor]) -> None:
        parts = self.model.state_dict()
        self.model.load_state_dict({name: self._cut_as(parts.get(name), tensor) for name, tensor in state.items()})

    def whole(self, tensors: Mapping[str, tuple[Tensor, nn.Parameter]]) -> Mapping[str, Tensor]:
        return Joined({name: functools.partial(self._joined_as, *pair) for name, pair in tensors.items()})

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        joined = self._joined[self._places[id(parameter)]]
        cut = self._cut_as(joined, tensor) if tensor.shape == joined.shape else tensor
        return cut.to_local() if isinstance(cut, DTensor) else cut

    def finish(self) -> None:
        """On the CPU, where all of them fit if they did when they were built."""
        with torch.no_grad():
            for given, joined, (shape, stride, dtype) in zip(
                self._given.parameters(), self._joined, self._layouts, strict=True
            ):
                given.data = torch.empty_strided(shape, stride, dtype=dtype).copy_(self._all_of(joined))
            for given_buffer, buffer in zip(self._given.buffers(), self.model.buffers(), strict=True):
                given_buffer.copy_(buffer)

    def _all_of(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, DTensor):
            return tensor
        with self._peers():
            return tensor.full_tensor()

    def _joined_as(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        joined = self._joined[self._places[id(parameter)]]
        if not isinstance(joined, DTensor) or tensor.shape != parameter.shape:
            return tensor
        shape, stride = joined.shape, joined.stride()
        cut = DTensor.from_local(tensor, self._mesh, joined.placements, run_check=False, shape=shape, stride=stride)
        return self._all_of(cut)

    def _cut_as(self, joined: Tensor | None, tensor: Tensor) -> Tensor:
        if not isinstance(joined, DTensor):
            return tensor
        return distribute_tensor(tensor, self._mesh, joined.placements, src_data_rank=None)


class Joined(Mapping[str, Tensor]):
    """Tensors that are put together when they are read: by all workers, in order, one at a time."""

    def __init__(self, made: Mapping[str, Callable[[], Tensor]]) -> None:
        self._made = made

    def __getitem__(self, name: str) -> Tensor:
        return self._made[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _part(parameter: nn.Parameter) -> nn.Parameter:
    if not isinstance(parameter, DTensor):
        return parameter
    return nn.Parameter(cast(DTensor, parameter.detach()).to_local(), parameter.requires_grad)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
