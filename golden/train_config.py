"""What determines a training run, its learning-rate schedule, and what it results in."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from golden.networks import trainable_networks
from golden.quantizers import ActivationEncoding

FIRST_LR_SHARE = 0.04
"""Learning rate of the first step as a share of the peak."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes:
        output: Checkpoint file, replaced after every epoch.
        network: Name of a network for CIFAR-10, as in ``golden.networks``.
        weight_bits: Planes per weight, or None for float.
        activation_bits: Planes per activation, or None for float.
        encoding: Alphabet of the activation codes.
        epochs: Length of the run and of its learning-rate cycle.
        batch: Images per step; an incomplete last batch of an epoch is dropped.
        peak_lr: Highest learning rate.
        rise: Share of the steps in which the learning rate rises.
        weight_decay: L2 factor on convolution and linear weights.
        seed: Seed of the initial weights and of order and augmentation of the images.
        data: Folder of the prepared data set; None for the cache folder.
        init: Checkpoint whose tensors of the same name and shape are the starting point.
        resume: Continue from ``output`` if it exists.
        threads: CPU threads; None for torch's own choice.
        bfloat16: Compute convolutions in bfloat16; statistics and parameters stay float32.
        compile: Compile the quantizer's pass over the activations; needs a C++ compiler.
    """

    output: Path
    network: str = "resnet20"
    weight_bits: int | None = 2
    activation_bits: int | None = 2
    encoding: ActivationEncoding = ActivationEncoding.UNSIGNED
    epochs: int = 30
    batch: int = 128
    peak_lr: float = 0.1
    rise: float = 0.15
    weight_decay: float = 1e-4
    seed: int = 1
    data: Path | None = None
    init: Path | None = None
    resume: bool = False
    threads: int | None = None
    bfloat16: bool = True
    compile: bool = True

    def __post_init__(self) -> None:
        if self.network not in trainable_networks():
            known = ", ".join(trainable_networks())
            raise ValueError(f"network must be one of {known}, not {self.network!r}")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not self.peak_lr > 0:
            raise ValueError(f"peak_lr must be positive, not {self.peak_lr}")
        if not 0 <= self.rise < 1:
            raise ValueError(f"rise must be in 0..1, not {self.rise}")

    def to_plain(self) -> dict[str, Any]:
        """What determines the numbers of the run, as a checkpoint holds it: no machine paths."""
        local = ("output", "data", "init", "resume", "threads", "compile")
        plain = {name: value for name, value in asdict(self).items() if name not in local}
        return {**plain, "encoding": self.encoding.value}


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave: mean training loss, training and test accuracy (0..1), seconds."""

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its checkpoint and the results of all its epochs."""

    output: Path
    history: tuple[EpochResult, ...]

    @property
    def accuracy(self) -> float:
        """Test accuracy (0..1) after the last epoch."""
        return self.history[-1].test_accuracy


def learning_rate(step: int, steps: int, peak: float, rise: float) -> float:
    """One cycle: linear from 4 % of ``peak`` over the share ``rise``, then a cosine to zero."""
    top = rise * steps
    if step < top:
        return peak * (FIRST_LR_SHARE + (1 - FIRST_LR_SHARE) * step / top)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - top) / (steps - top)))
