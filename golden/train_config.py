"""What determines a training run, and what it results in."""

import enum
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from golden.networks import NETWORKS, trainable_networks
from golden.quantizers import ActivationEncoding

LOCAL_FIELDS = frozenset(
    ("output", "data", "init", "resume", "threads", "compile", "device", "workers", "log")
)
"""Fields that do not change what is computed, or that only mean something on one machine."""

SCHEDULE_FIELDS = frozenset(("epochs", "milestones"))
"""Fields that a resumed run may change: the rest of the run follows the new schedule."""


class Schedule(enum.Enum):
    """How the learning rate goes over a run (see :mod:`golden.schedule`)."""

    ONE_CYCLE = "one-cycle"
    """Linear rise, then a cosine to zero."""

    STEPS = "steps"
    """Constant, multiplied by a factor at each milestone."""

    LINEAR = "linear"
    """A straight line from the highest to the last learning rate."""


class Augmentation(enum.Enum):
    """How training images are varied."""

    NONE = "none"
    """Not at all; images of a folder are cut as those of the test are."""

    CROP = "crop"
    """Random crop and mirror: CIFAR-10 from a margin of 4, folders from a shorter side of 8/7."""

    AREA_CROP = "area-crop"
    """Folders only: a crop of 8 to 100 % of the area, jittered colours, lighting, mirror."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes:
        output: Checkpoint file, replaced after every epoch.
        network: Name of a network, as in ``golden.networks``.
        weight_bits: Planes per weight, or None for float.
        activation_bits: Planes per activation, or None for float.
        encoding: Alphabet of the activation codes.
        epochs: Length of the run and of its learning-rate schedule.
        batch: Images per step, of all processes together; an incomplete last batch of an epoch
            is dropped.
        peak_lr: Highest learning rate.
        rise: Share of the steps in which the learning rate rises (one-cycle).
        weight_decay: L2 factor on convolution and linear weights.
        seed: Seed of the initial weights and of order and augmentation of the images.
        data: Folder of the data set; None for the cache folder of CIFAR-10.
        init: Checkpoint whose tensors of the same name and shape are the starting point.
        resume: Continue from ``output`` if it exists.
        threads: CPU threads; None for torch's own choice.
        bfloat16: Compute convolutions in bfloat16; statistics and parameters stay float32.
        compile: Compile the quantizer's pass over the activations; needs a C++ compiler.
        schedule: How the learning rate goes over the run.
        milestones: Epochs (whole or not) at which the learning rate falls (steps), ascending.
        decay: Factor of the learning rate at each milestone (steps).
        final_lr: Learning rate at the end of the run (linear).
        momentum: Of the gradient, 0..1.
        nesterov: Whether the momentum is Nesterov's.
        augmentation: How training images are varied.
        dataset: ``cifar10`` or ``imagenet`` (a folder of that layout); None is the network's own.
        image_size: Height and width of the images; None is the network's own.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Processes that read images of a folder, for each training process.
        log: Folder for TensorBoard; None writes no logs.
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
    schedule: Schedule = Schedule.ONE_CYCLE
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    final_lr: float = 1e-5
    momentum: float = 0.9
    nesterov: bool = True
    augmentation: Augmentation = Augmentation.CROP
    dataset: str | None = None
    image_size: int | None = None
    device: str = "auto"
    workers: int = 4
    log: Path | None = None

    def __post_init__(self) -> None:
        if self.network not in trainable_networks():
            known = ", ".join(trainable_networks())
            raise ValueError(f"network must be one of {known}, not {self.network!r}")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("peak_lr", "decay", "final_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("rise", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in ("weight_decay", "workers"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        self._check_milestones()
        if self.nesterov and self.momentum == 0:
            raise ValueError("momentum must be positive with nesterov, not 0")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be one of auto, cpu, cuda, not {self.device!r}")
        if self.dataset not in (None, "cifar10", "imagenet"):
            raise ValueError(f"dataset must be one of cifar10, imagenet, not {self.dataset!r}")
        if self.dataset_name == "cifar10":
            if NETWORKS[self.network].dataset != "cifar10":
                raise ValueError(f"dataset of {self.network} must be imagenet, not cifar10")
            if self.augmentation is Augmentation.AREA_CROP:
                raise ValueError("augmentation must be crop or none for cifar10, not area-crop")
            if self.image_size not in (None, 32):
                raise ValueError(f"image_size must be 32 for cifar10, not {self.image_size}")

    def _check_milestones(self) -> None:
        shown = list(self.milestones)
        if (self.schedule is Schedule.STEPS) != bool(shown):
            raise ValueError(f"milestones must be given with steps and only then, not {shown}")
        if shown != sorted(set(shown)) or any(not 0 < m <= self.epochs for m in shown):
            raise ValueError(f"milestones must rise within 0..{self.epochs} epochs, not {shown}")

    @property
    def dataset_name(self) -> str:
        """The data set of the run: the one asked for, or the network's own."""
        return self.dataset or NETWORKS[self.network].dataset

    def to_plain(self) -> dict[str, Any]:
        """What determines the numbers of the run, as a checkpoint holds it: no machine paths."""
        plain = {name: value for name, value in asdict(self).items() if name not in LOCAL_FIELDS}
        for name, value in plain.items():
            if isinstance(value, enum.Enum):
                plain[name] = value.value
        return {**plain, "milestones": list(self.milestones), "dataset": self.dataset_name}


def first_difference(saved: dict[str, Any], config: TrainConfig) -> tuple[str, Any, Any] | None:
    """The first setting in which a checkpoint's run is not that of ``config``.

    Settings that a checkpoint does not name have their defaults: it was written before they were.

    Args:
        saved: The configuration in a checkpoint.
        config: The run that is to go on.

    Returns:
        Name, the checkpoint's value and the value of ``config``; None if the run can go on.
    """
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    for name, value in config.to_plain().items():
        default = defaults[name]
        if isinstance(default, enum.Enum):
            default = default.value
        elif name == "dataset":
            default = config.dataset_name
        elif isinstance(default, tuple):
            default = list(default)
        found = saved.get(name, default)
        if name not in SCHEDULE_FIELDS and found != value:
            return name, found, value
    return None


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
