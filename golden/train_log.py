"""TensorBoard logs of a training run: ``tensorboard --logdir FOLDER`` shows them.

Every value stands at the number of steps that were done. A run that was stopped and resumed tells
TensorBoard to forget what lies behind the checkpoint, so that no step appears twice.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from golden.learned_quantizer import LearnedQuantizer
from golden.train_config import EpochResult

STEPS_PER_POINT = 50
"""Steps whose mean loss is one point of the curve."""


class TrainLog:
    """Writes curves of loss, accuracy, learning rate and bases.

    Args:
        folder: Where to; made if it is not there.
        done: Steps of the run that were done before.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)
        self._losses: list[float] = []

    def steps(self, done: int, losses: Sequence[float], rate: float) -> None:
        """Note the losses of the latest steps and the learning rate, after ``done`` steps."""
        self._losses += losses
        if len(self._losses) >= STEPS_PER_POINT:
            self._writer.add_scalar("loss/steps", sum(self._losses) / len(self._losses), done)
            self._writer.add_scalar("learning rate", rate, done)
            self._losses.clear()

    def epoch(self, done: int, result: EpochResult, network: nn.Module) -> None:
        """Note the results of an epoch and the bases after it, after ``done`` steps.

        A basis of weights is shown by the mean over the output channels.
        """
        # A resumed run starts with the next step.
        self._losses.clear()
        self._writer.add_scalar("loss/epochs", result.loss, done)
        self._writer.add_scalar("accuracy/training", result.train_accuracy, done)
        self._writer.add_scalar("accuracy/test", result.test_accuracy, done)
        for name, module in network.named_modules():
            if isinstance(module, LearnedQuantizer):
                for plane, value in enumerate(module.rows(module.basis).mean(0).tolist()):
                    self._writer.add_scalar(f"basis {name}/{plane}", value, done)
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()
