"""What one of several training processes does, for the tests; torchrun starts it.

``python -m tests.golden.training_processes FOLDER EPOCHS`` trains on tiny images (goes on, if a
checkpoint ``n.pt`` is there) and leaves in FOLDER ``n.pt``, and ``rank-N.pt`` of each process: its
last state, and all counts per level that its bases were fitted to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden import basis_updates, train
from golden.learned_quantizer import LearnedQuantizer, LevelStatistics, update_bases
from golden.trainer import Trainer
from tests.golden.training_runs import tiny_config, tiny_data

__all__ = ["train_process"]


def leave_ties(network: nn.Module) -> None:
    """Move the biases away from zero: some sums of few levels lie exactly on their mean."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0.0, 0.2, generator=generator)


class RecordedTrainer(Trainer):
    """Starts without ties; the last one made can be asked for its state."""

    last: RecordedTrainer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if not self.history:
            leave_ties(self.network)
        RecordedTrainer.last = self


def train_process(folder: Path, epochs: int) -> None:
    """Train so many epochs and write ``rank-N.pt``.

    All in float64. Processes add in another order than one does. In float32 the difference moves
    an element over a threshold or over the bend of a ReLU every few steps, and then the runs part
    by more than rounding. In float64 that does not happen, so no error can hide behind it.
    """
    counts: list[Tensor] = []

    def recorded(
        quantizers: Sequence[LearnedQuantizer], statistics: Sequence[LevelStatistics]
    ) -> None:
        counts.extend(each.counts for each in statistics)
        update_bases(quantizers, statistics)

    originals = basis_updates.update_bases, train.Trainer
    basis_updates.update_bases, train.Trainer = recorded, RecordedTrainer
    torch.set_default_dtype(torch.float64)
    config = replace(tiny_config(folder / "n.pt"), bfloat16=False, resume=True, log=folder / "logs")
    try:
        train.train(replace(config, epochs=epochs), tiny_data())
    finally:
        torch.set_default_dtype(torch.float32)
        basis_updates.update_bases, train.Trainer = originals
    trainer = RecordedTrainer.last
    content = {
        "counts": counts,
        "model": trainer.network.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "losses": [entry.loss for entry in trainer.history],
        "accuracies": [(entry.train_accuracy, entry.test_accuracy) for entry in trainer.history],
    }
    torch.save(content, folder / f"rank-{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    train_process(Path(sys.argv[1]), int(sys.argv[2]))
