"""Which parts of a model have weights enough to be put together on their own, just when they run."""

from __future__ import annotations

from collections import Counter

from torch import nn

from genpipe.model import Model

MIN_BLOCK = 1 << 20
"""Numbers from which a part of a model is a block: fewer travel with those of what is around them."""


def blocks(model: Model) -> list[nn.Module]:
    """Parts of the model that run by their `forward`, inner ones first; together they need not have all weights.

    The model's own `shard_blocks`, or else, from the innermost out, each with at least MIN_BLOCK numbers that are in no block
    yet. A single layer is none, for who holds a layer may use its weight as it likes; nor is what shares a
    parameter with the rest of the model, or has no `forward`.
    """
    own = model.shard_blocks()
    if own is not None:
        named = {id(block) for block in own}
        return [module for module in reversed(list(model.modules())) if id(module) in named and module is not model]
    uses = Counter(_parameters(model))
    found: list[nn.Module] = []
    numels = {id(p): p.numel() for p in model.parameters()}
    taken: set[int] = set()
    for module in reversed([module for module in model.modules() if module is not model]):
        left = {name for name in _parameters(module) if name not in taken}
        if sum(numels[name] for name in left) >= MIN_BLOCK and _is_block(module, uses):
            found.append(module)
            taken |= left
    return found


def _is_block(module: nn.Module, uses: Counter[int]) -> bool:
    runs = type(module).forward is not nn.Module.forward and not isinstance(module, nn.ModuleList | nn.ModuleDict)
    inside = Counter(_parameters(module))
    return runs and any(True for _ in module.children()) and all(uses[name] == inside[name] for name in inside)


def _parameters(module: nn.Module) -> list[int]:
    """Identities of a module's parameters, once for every place that has one."""
    return [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
