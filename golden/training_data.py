"""Batches of labelled images for training and test, the same whatever processes share them."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from golden.data import CLASSES, SIZE, Cifar10, Images
from golden.distributed import Ranks
from golden.layers import PIXEL_OFFSET
from golden.train_config import Augmentation, TrainConfig

CROP_MARGIN = 4
TEST_BATCH = 500

Batch = tuple[Tensor, Tensor]
"""Raw pixels uint8 [N, H, W, 3] and labels int64 [N], on the device of the run."""


class TrainingError(Exception):
    """Training cannot start or go on."""


class ImageSource(Protocol):
    """A data set.

    Attributes:
        classes: Number of classes.
        image_size: Height and width of the images.
        train_count: Number of training images.
        test_count: Number of test images.
    """

    classes: int
    image_size: int
    train_count: int
    test_count: int

    def train_batches(self, epoch: int, ranks: Ranks) -> Iterator[Batch]:
        """This process's shares of the whole batches of an epoch (from 0), in random order."""
        ...

    def test_batches(self, ranks: Ranks) -> Iterator[Batch]:
        """This process's part of the test images."""
        ...


class CifarSource:
    """CIFAR-10, all of it on the device.

    Order, shifts and mirrors of an epoch are drawn on the CPU from a generator that is seeded by
    (seed, epoch), for whole batches: neither an interruption nor the number of processes changes
    them.

    Args:
        data: The images.
        config: The run.
        device: Where batches are made.
    """

    def __init__(self, data: Cifar10, config: TrainConfig, device: torch.device) -> None:
        self._augmented = config.augmentation is not Augmentation.NONE
        self._seed = config.seed
        self._batch = config.batch
        self._train = [tensor.to(device) for tensor in as_tensors(data.train)]
        self._test = [tensor.to(device) for tensor in as_tensors(data.test)]
        self.classes = CLASSES
        self.image_size = SIZE
        self.train_count = len(data.train)
        self.test_count = len(data.test)

    def train_batches(self, epoch: int, ranks: Ranks) -> Iterator[Batch]:
        """This process's shares of the whole batches of an epoch (from 0), in random order."""
        pixels, labels = self._train
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(self.train_count, generator=generator)
        share = ranks.share(self._batch)
        for start in range(0, self.train_count - self._batch + 1, self._batch):
            chosen = order[start : start + self._batch][share].to(pixels.device)
            images = pixels[chosen]
            if self._augmented:
                shifts, mirrored = draw_crops(self._batch, generator)
                images = crop_and_mirror(images, shifts[:, share], mirrored[share])
            yield images, labels[chosen]

    def test_batches(self, ranks: Ranks) -> Iterator[Batch]:
        """This process's part of the test images."""
        pixels, labels = (tensor[ranks.share(self.test_count)] for tensor in self._test)
        yield from zip(pixels.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)


def as_tensors(images: Images) -> Batch:
    """Pixels uint8 [N, H, W, 3] and labels int64 [N]."""
    return torch.from_numpy(images.pixels), torch.from_numpy(images.labels).long()


def draw_crops(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random shifts (0..8) down and right, [2, count, 1], and whether to mirror, [count, 1]."""
    shifts = torch.randint(2 * CROP_MARGIN + 1, (2, count, 1), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    return shifts, mirrored


def crop_and_mirror(pixels: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
    """Images shifted within a margin of 4 and mirrored, uint8 [N, H, W, 3] -> same.

    The margin is the grey that the network reads as zero, as its convolutions pad.

    Args:
        pixels: The images.
        shifts: Down and right, 4 is the middle, [2, N, 1].
        mirrored: Whether to mirror each image, [N, 1].
    """
    count, height, width, _ = pixels.shape
    device = pixels.device
    shifts, mirrored = shifts.to(device), mirrored.to(device)
    margin = (0, 0, CROP_MARGIN, CROP_MARGIN, CROP_MARGIN, CROP_MARGIN)
    padded = functional.pad(pixels, margin, value=PIXEL_OFFSET)
    columns = torch.arange(width, device=device).expand(count, width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    rows = (torch.arange(height, device=device) + shifts[0])[:, :, None]
    images = torch.arange(count, device=device)[:, None, None]
    return padded[images, rows, (columns + shifts[1])[:, None, :]]
