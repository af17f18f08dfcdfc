"""Classifies image files on an accelerator, for ``lqfpga run``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from compiler.compile import image_words
from compiler.program import Program
from host.driver import Accelerator
from hw.isa import Counter
from sim.images import ImageError, load_images

__all__ = ["Prediction", "classify_images", "read_images"]

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Of pillow, by channels."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one image."""

    image: str
    number: int
    """Class with the largest logit; the first of several."""
    name: str
    """Of the class; empty if the program has no names."""
    logits: tuple[int, ...]
    cycles: int
    """Of the run."""
    label: int | None
    """True class, where known."""
    batch: int = 1
    """Images of the run."""

    def __str__(self) -> str:
        name = f"{self.name} ({self.number})" if self.name else f"class {self.number}"
        verdict = "" if self.label in (None, self.number) else f", labelled {self.label}"
        batch = f" for {self.batch} images" if self.batch > 1 else ""
        return f"{self.image}: {name}{verdict}, {self.cycles} cycles{batch}"


def read_images(
    paths: Iterable[Path], program: Program
) -> Iterator[tuple[str, np.ndarray, int | None]]:
    """Name, pixels and label of each image in files, folders and .npz archives.

    Raises :class:`sim.images.ImageError`.
    """
    for path in paths:
        if path.is_dir() or path.suffix == ".npz":
            images = load_images(path, program.image_shape, classes=program.labels)
            yield from zip(images.names, images.pixels, images.labels, strict=True)
        else:
            yield path.name, _read_image(path, program.image_shape), None


def classify_images(
    accelerator: Accelerator,
    program: Program,
    images: Iterable[tuple[str, np.ndarray, int | None]],
    *,
    early: bool = False,
) -> Iterator[Prediction]:
    """Run a loaded program on the images, as many at once as it takes.

    With ``early`` each one is run until its class is certain.
    """
    waiting = iter(images)
    while batch := list(islice(waiting, program.images)):
        words = [image_words(pixels).tolist() for _, pixels, _ in batch]
        if early:
            logits, cycles = accelerator.classify_early(program, words[0])
            answers = [logits]
        else:
            answers = accelerator.classify_batch(program, words)
            cycles = accelerator.counters()[Counter.TOTAL]
        for (image, _, label), logits in zip(batch, answers, strict=True):
            yield _prediction(program, image, label, logits, cycles)


def _prediction(
    program: Program, image: str, label: int | None, logits: list[int], cycles: int
) -> Prediction:
    number = int(np.argmax(logits))
    return Prediction(
        image=image,
        number=number,
        name=program.labels[number] if number < len(program.labels) else "",
        logits=tuple(logits),
        cycles=cycles,
        label=label,
        batch=program.images,
    )


def _read_image(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    height, width, channels = shape
    if channels not in MODES:
        raise ImageError(f"program must take 1, 3 or 4 channels to read a file, not {channels}")
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                got = f"{image.width} x {image.height}"
                raise ImageError(f"image {path} must be {width} x {height} pixels, not {got}")
            return np.asarray(image.convert(MODES[channels]), np.uint8).reshape(shape)
    except OSError as error:
        raise ImageError(f"image {path} must be a readable picture: {error}") from error
