"""Images in folders, as ImageNet is laid out: ``train/CLASS/*.JPEG`` and ``val/CLASS/*.JPEG``.

Images are resized and cut as in the LQ-Nets authors' released code, but kept as raw RGB pixels of
0..255: the networks scale these themselves, as the hardware does.
"""

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from golden.data import DataError
from golden.distributed import Ranks
from golden.image_augmentation import augmented, centre
from golden.train_config import Augmentation, TrainConfig
from golden.training_data import Batch

SUFFIXES = frozenset((".jpeg", ".jpg", ".png", ".bmp", ".webp"))
TEST_BATCH = 100

Key = tuple[int, int]
"""Epoch and index of an image; epoch -1 is for tests, which vary nothing."""


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """One part of a data set: pixels uint8 [size, size, 3] and class by (epoch, index).

    What is drawn at random depends on (seed, epoch, index) alone, whichever process draws it.

    Args:
        folder: Holds a folder of images for each class.
        size: Height and width of the images that are given out.
        augmentation: How they are varied.
        seed: Of the variations.

    Attributes:
        classes: Names of the classes in order.
        labels: Class of each image, class by class.

    Raises:
        DataError: If there is no such folder, or no image in one of its classes.
    """

    def __init__(self, folder: Path, size: int, augmentation: Augmentation, seed: int) -> None:
        self._size = size
        self._augmentation = augmentation
        self._seed = seed
        self._folder = folder
        self.classes: list[str] = []
        names: list[bytes] = []
        labels: list[int] = []
        if not folder.is_dir():
            raise DataError(f"there must be a folder {folder} with a folder for each class")
        for own in sorted(path for path in folder.iterdir() if path.is_dir()):
            images = [name for name in os.listdir(own) if Path(name).suffix.lower() in SUFFIXES]
            if not images:
                raise DataError(f"{own} must hold images ({', '.join(sorted(SUFFIXES))})")
            labels += [len(self.classes)] * len(images)
            names += [os.fsencode(f"{own.name}/{name}") for name in sorted(images)]
            self.classes.append(own.name)
        # Arrays: reading a million Python objects would copy their pages into every worker.
        self._names = np.array(names)
        self.labels = np.array(labels)
        if len(self.classes) < 2:
            raise DataError(f"{folder} must hold two or more class folders, not {self.classes}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, index = key
        path = self._folder / os.fsdecode(self._names[index])
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} must be a readable image: {reason}") from error
        if epoch < 0 or self._augmentation is Augmentation.NONE:
            image = centre(image, self._size)
        else:
            # A text seeds the generator by its SHA-512, the same everywhere.
            generator = random.Random(f"{self._seed} {epoch} {index}")
            image = augmented(image, self._size, self._augmentation, generator)
        return torch.from_numpy(np.array(image)), int(self.labels[index])


class FolderSource:
    """A data set of two folders, ``train`` and ``val``.

    Args:
        folder: Holds both.
        image_size: Height and width of the images.
        config: The run.
        device: Where batches go.

    Raises:
        DataError: If a folder or an image is missing, or the classes of both differ.
    """

    def __init__(
        self, folder: Path, image_size: int, config: TrainConfig, device: torch.device
    ) -> None:
        self._device = device
        self._batch = config.batch
        self._seed = config.seed
        self._workers = config.workers
        self._train = ImageFolder(folder / "train", image_size, config.augmentation, config.seed)
        self._test = ImageFolder(folder / "val", image_size, Augmentation.NONE, config.seed)
        for one, other in ((self._train, self._test), (self._test, self._train)):
            missing = sorted(set(one.classes) - set(other.classes))
            if missing:
                name = "val" if other is self._test else "train"
                raise DataError(
                    f"{folder / name} must hold the same classes as its twin, but lacks "
                    f"{len(missing)}: {', '.join(missing[:5])}"
                )
        self.classes = len(self._train.classes)
        self.image_size = image_size
        self.train_count = len(self._train)
        self.test_count = len(self._test)

    def train_batches(self, epoch: int, ranks: Ranks) -> Iterator[Batch]:
        """This process's shares of the whole batches of an epoch (from 0), in random order."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(self.train_count, generator=generator).tolist()
        share = ranks.share(self._batch)
        batches = (
            [(epoch, index) for index in order[start : start + self._batch][share]]
            for start in range(0, self.train_count - self._batch + 1, self._batch)
        )
        yield from self._load(self._train, batches)

    def test_batches(self, ranks: Ranks) -> Iterator[Batch]:
        """This process's part of the test images."""
        own = range(self.test_count)[ranks.share(self.test_count)]
        batches = (
            [(-1, index) for index in own[start : start + TEST_BATCH]]
            for start in range(0, len(own), TEST_BATCH)
        )
        yield from self._load(self._test, batches)

    def _load(self, images: ImageFolder, batches: Iterable[list[Key]]) -> Iterator[Batch]:
        """Read the batches with the worker processes."""
        on_gpu = self._device.type == "cuda"
        loader = DataLoader(
            images,
            batch_sampler=batches,
            num_workers=self._workers,
            pin_memory=on_gpu,
        )
        try:
            for pixels, labels in loader:
                yield (
                    pixels.to(self._device, non_blocking=on_gpu),
                    labels.to(self._device, non_blocking=on_gpu),
                )
        except DataError as error:
            # An error of a worker comes with its whole traceback as the text.
            text = str(error).strip().splitlines()[-1]
            raise DataError(text.removeprefix("golden.data.DataError: ")) from error
