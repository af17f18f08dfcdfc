"""How long a quantized training step takes beside one of the same network in float.

``lqfpga train NETWORK --benchmark``: steps of both networks take turns on the same random batch,
so that other work on the machine slows both; the medians are compared.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from golden.distributed import Ranks, choose_device
from golden.networks import NETWORKS
from golden.train_config import TrainConfig
from golden.trainer import Trainer
from golden.training_data import Batch

WARM_UP_STEPS = 3
"""Steps of each network that are not counted: they compile and fill caches."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of each measured step: of the quantized network and of the float one."""

    quantized: tuple[float, ...]
    full_precision: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the quantized steps over the median of the float ones."""
        return statistics.median(self.quantized) / statistics.median(self.full_precision)

    def __str__(self) -> str:
        lines = [
            f"{name:9}  median {statistics.median(times) * 1e3:8.1f} ms   "
            f"fastest {min(times) * 1e3:8.1f} ms"
            for name, times in (("quantized", self.quantized), ("float", self.full_precision))
        ]
        return "\n".join([*lines, f"{'ratio':9}  {self.ratio:.2f}"])


class NoiseSource:
    """Random images of the network's size; only for the time that a step takes.

    Args:
        config: The run.
        device: Where they lie.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        entry = NETWORKS[config.network]
        self.classes = entry.classes
        self.image_size = config.image_size or entry.image_size
        self.train_count = self.test_count = config.batch
        generator = torch.Generator().manual_seed(config.seed)
        shape = (config.batch, self.image_size, self.image_size, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, self.classes, (config.batch,), generator=generator)
        self._batch = (pixels.to(device), labels.to(device))

    def train_batches(self, epoch: int, ranks: Ranks) -> Iterator[Batch]:
        """The batch."""
        yield self._batch

    def test_batches(self, ranks: Ranks) -> Iterator[Batch]:
        """The same batch."""
        yield self._batch


def measure(
    config: TrainConfig, steps: int = 20, progress: Callable[[int], object] = lambda done: None
) -> StepTimes:
    """Time ``steps`` training steps of ``config``'s network and of the same one in float.

    Args:
        config: The run; its checkpoint is neither read nor written.
        steps: Measured steps of each.
        progress: Told how many steps of each were made.

    Raises:
        ValueError: If ``config`` is of a float network itself.
    """
    if config.weight_bits is None and config.activation_bits is None:
        raise ValueError("benchmark must be of a quantized network, not of a float one")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    # Where no file is, nothing is resumed.
    config = replace(config, output=config.output / "benchmark", init=None, log=None)
    plain = replace(config, weight_bits=None, activation_bits=None)
    source = NoiseSource(config, device)
    quantized, full_precision = (
        Trainer(each, source, device, lambda text: None) for each in (config, plain)
    )
    times: tuple[list[float], list[float]] = ([], [])
    pixels, labels = next(source.train_batches(0, Ranks()))
    for step in range(WARM_UP_STEPS + steps):
        for trainer, own in zip((quantized, full_precision), times, strict=True):
            trainer.network.train()
            started = time.perf_counter()
            # The first step's learning rate throughout: noise cannot be learned for long.
            trainer.step(0, pixels, labels).tolist()
            own.append(time.perf_counter() - started)
        progress(step + 1)
    return StepTimes(*(tuple(own[WARM_UP_STEPS:]) for own in times))
