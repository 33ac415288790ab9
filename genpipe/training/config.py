"""Options of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from genpipe.config import Config, NotInKey, NumWorkers


class TrainConfig(Config):
    """Options of the shared training loop. Closed-form families use `batch_size` alone."""

    steps: int = Field(2000, ge=1, description="optimisation steps")
    batch_size: int = Field(128, ge=1, description="examples per step, over all micro-batches")
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="Adam, or with decoupled weight decay")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of every parameter")
    betas: tuple[float, float] = Field((0.9, 0.99), description="Adam's decay rates")
    warmup_steps: int = Field(50, ge=0, description="steps over which the learning rate rises linearly")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="the learning rate after the warm-up")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null does not clip")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights that the model ends with; 0 is off"
    )
    accumulation: int = Field(1, ge=1, description="micro-batches that a batch is cut into, to save memory")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of the forward pass")
    log_every: int = Field(50, ge=1, description="steps between logged losses, each a mean over those steps")
    validate_every: int | None = Field(
        None,
        ge=1,
        description="steps between looks at the loss of the validation split, whose best weights the model ends with; null "
        "takes none, and the model ends with the last step's",
    )
    patience: int | None = Field(
        None, ge=1, description="looks without a better loss after which training stops; null goes on to the last step"
    )
    checkpoint_every: Annotated[int | None, NotInKey()] = Field(
        None, ge=1, description="steps between checkpoints; null writes one about every 20 seconds"
    )
    workers: NumWorkers = Field(1, description="processes that share each batch; the result is the same, to rounding")
    parallel: Annotated[Literal["replicate", "shard"], NotInKey()] = Field(
        "replicate", description="whether each of several workers keeps all weights, or a part of each (FSDP)"
    )
    min_workers: Annotated[PositiveInt | None, NotInKey()] = Field(
        None, description="fewest workers to train with while the cluster has no room for all; null waits for all"
    )
    hang_seconds: Annotated[float, NotInKey()] = Field(
        300.0, ge=5, description="seconds after which a worker that the others wait for counts as lost"
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulation {self.accumulation}")
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(
                f"min_workers is {self.min_workers} and workers {self.workers}, expected no more than that"
            )
        if self.patience is not None and self.validate_every is None:
            raise ValueError(
                f"patience is {self.patience} and validate_every is not set: expected steps between looks at the "
                "validation split, whose loss the patience is with"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}, expected numbers in [0, 1)")
        return self
