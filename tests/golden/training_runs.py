"""Small training runs for the tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from golden.data import Cifar10, Images
from golden.distributed import Ranks
from golden.progress import Progress
from golden.train import open_source
from golden.train_config import TrainConfig
from golden.trainer import Trainer

__all__ = ["CPU", "coloured_images", "quiet", "tensors", "tiny_config", "tiny_data", "trainer_of"]

CPU = torch.device("cpu")


def coloured_images(count: int, seed: int) -> Images:
    """Noise images whose mean colour tells the class, so that a step or two learn something."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count, dtype=np.uint8)
    base = 20 + 20 * labels.astype(np.int64)[:, None, None, None]
    pixels = (base + rng.integers(-20, 20, (count, 32, 32, 3))).astype(np.uint8)
    return Images(pixels, labels)


def tiny_data() -> Cifar10:
    return Cifar10(coloured_images(24, 1), coloured_images(10, 2))


def tiny_config(output: Path) -> TrainConfig:
    return TrainConfig(output, epochs=3, batch=8, compile=False, threads=1)


def trainer_of(
    config: TrainConfig,
    data: Cifar10,
    lines: list[str] | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    """A trainer that appends what it reports to ``lines``."""
    report = (lambda text: None) if lines is None else lines.append
    return Trainer(config, open_source(config, CPU, data), CPU, report, ranks)


def quiet() -> Progress:
    return Progress(Console(file=io.StringIO()))


def tensors(content: object) -> list[Tensor]:
    """All tensors of nested dicts and lists, in order."""
    if isinstance(content, Tensor):
        return [content]
    if isinstance(content, dict):
        return [t for value in content.values() for t in tensors(value)]
    if isinstance(content, list):
        return [t for value in content for t in tensors(value)]
    return []
