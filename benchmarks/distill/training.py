"""What both heads are trained with."""

from typing import Protocol

import optax

WARM_UP = 0.05
"""of all steps"""


class Settings(Protocol):
    @property
    def rate(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def decay(self) -> float: ...


def adamw(settings: Settings) -> optax.GradientTransformation:
    """AdamW on clipped gradients; its rate rises from zero and falls by a cosine."""
    rate, steps = settings.rate, settings.steps
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, int(WARM_UP * steps), steps, rate / 100)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=settings.decay))
