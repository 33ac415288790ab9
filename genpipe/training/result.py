"""What a training gave."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training gave besides the weights.

    history: one entry per `log_every` steps: "step", "learning_rate" and each loss term's mean over those steps.
    numbers: final numbers: the last entry's terms, or what a closed-form fit returned.
    steps: steps in all; resumed_from: the step that this process went on from, or None.
    seconds: of this process; seconds_resumed: of earlier attempts, up to the checkpoint that was used.
    steps_per_second: of this process, checkpoints included; 0 for closed forms.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    resumed_from: int | None = None
    seconds: float = 0.0
    seconds_resumed: float = 0.0
    steps_per_second: float = 0.0
