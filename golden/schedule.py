"""Learning rate of every step."""

import math

from golden.train_config import Schedule, TrainConfig

FIRST_LR_SHARE = 0.04
"""Learning rate of the first step of a cycle as a share of the peak."""


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of step ``step`` (from 0) of the run.

    * one-cycle: linear from 4 % of the peak over the share ``rise`` of the steps, then a cosine
      that reaches zero at the end;
    * steps: the peak times ``decay`` for every milestone that is reached;
    * linear: from the peak at step 0 towards ``final_lr`` at the end.
    """
    steps = config.epochs * steps_per_epoch
    match config.schedule:
        case Schedule.ONE_CYCLE:
            return one_cycle(step, steps, config.peak_lr, config.rise)
        case Schedule.STEPS:
            reached = sum(step >= round(m * steps_per_epoch) for m in config.milestones)
            return config.peak_lr * config.decay**reached
        case Schedule.LINEAR:
            return config.peak_lr + (config.final_lr - config.peak_lr) * step / steps


def one_cycle(step: int, steps: int, peak: float, rise: float) -> float:
    """Linear from 4 % of ``peak`` over the share ``rise`` of the steps, then a cosine to zero."""
    top = rise * steps
    if step < top:
        return peak * (FIRST_LR_SHARE + (1 - FIRST_LR_SHARE) * step / top)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - top) / (steps - top)))
