"""Loss and correct answers of an epoch, without waiting for a GPU at every step."""

import math

import torch
from torch import Tensor

from golden.distributed import Ranks
from golden.training_data import TrainingError


class EpochTotals:
    """Loss and correct answers of an epoch so far, over all processes.

    Args:
        first_step: The epoch's first step in the whole run, for the text of an error.
        batch: Images per step.
        ranks: The processes.
    """

    def __init__(self, first_step: int, batch: int, ranks: Ranks) -> None:
        self._first_step = first_step
        self._batch = batch
        self._ranks = ranks
        self._waiting: list[Tensor] = []
        self._steps = 0
        self._loss = 0.0
        self._correct = 0

    def add(self, values: Tensor) -> None:
        """Note what a step returned, without waiting for it."""
        self._waiting.append(values)

    def fetch(self) -> list[float]:
        """Wait for all steps so far and look at their losses; returns the new ones."""
        fetched: list[float] = []
        values = self._ranks.sum(torch.stack(self._waiting)).tolist()
        self._waiting.clear()
        for loss, correct in values:
            loss /= self._ranks.count
            if not math.isfinite(loss):
                step = self._first_step + self._steps
                raise TrainingError(
                    f"loss must be finite, not {loss} at step {step}; a lower peak_lr may help"
                )
            fetched.append(loss)
            self._steps += 1
            self._loss += loss
            self._correct += int(correct)
        return fetched

    @property
    def loss(self) -> float:
        """Mean loss."""
        return self._loss / self._steps

    @property
    def accuracy(self) -> float:
        """Share of correct answers, 0..1."""
        return self._correct / (self._steps * self._batch)
