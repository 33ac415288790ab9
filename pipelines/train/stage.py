"""Writes a model artifact: what `save_model` writes, history.jsonl and curves.png."""

from __future__ import annotations

from genpipe.data import open_split
from genpipe.model import Model
from genpipe.persistence import save_model
from genpipe.pipelines.train.config import TrainStageConfig
from genpipe.pipelines.train.curves import write_history
from genpipe.steps import StepContext
from genpipe.training.assignment import Assignment


def run(context: StepContext) -> None:
    """Builds the family's model and trains it; gives the final loss terms in the summary."""
    config: TrainStageConfig = context.config
    assignment = Assignment(
        family=config.model.name,
        options=config.model.config.model_dump(mode="json"),
        config=config.train.model_dump(mode="json"),
        data=str(context.inputs["data"]),
        scratch=str(context.scratch),
        seed=context.seed,
        device=context.device,
    )
    if config.train.workers > 1:
        from genpipe.training.ray_train import train_in_a_group  # imports Ray Train, which takes seconds

        model, result = train_in_a_group(assignment, config.train, context)
    else:
        model, result = assignment.carry_out(context.registry, context.progress, stored=context.stored_scratch)
    save_model(model, context.out, context.registry)
    write_history(result.history, context.out)
    metrics = dict(result.numbers)
    if result.steps:
        metrics["steps_per_second"] = result.steps_per_second
    context.summary.update(
        family=model.family.name,
        num_parameters=count_parameters(model),
        num_examples=len(open_split(context.inputs["data"], "train")),
        steps=result.steps,
        resumed_from=result.resumed_from,
        training_seconds=result.seconds + result.seconds_resumed,
        metrics=metrics,
    )


def count_parameters(model: Model) -> int:
    """Numbers that were fitted; a closed-form family keeps them in buffers."""
    if model.family.training == "closed_form":
        return sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())
    return sum(p.numel() for p in model.parameters())
