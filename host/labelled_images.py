"""Images for commands that measure accuracy: files of the user, or CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.graph import Graph
from sim.images import ImageError, load_images

__all__ = ["LabelledImages", "calibration_images", "labelled_images"]


@dataclass(frozen=True)
class LabelledImages:
    """``pixels`` uint8 [N, height, width, channels], ``labels`` int64 [N]."""

    pixels: np.ndarray
    labels: np.ndarray


def image_shape(graph: Graph) -> tuple[int, int, int]:
    """Height, width and channels of a model's raw images."""
    channels, height, width = graph.image.shape
    return height, width, channels


def labelled_images(
    path: Path | None, graph: Graph, limit: int | None, folder: Path | None = None
) -> LabelledImages:
    """Labelled images of a folder or .npz archive, or the test images of CIFAR-10.

    Raises:
        DataError, ImageError: There are none, not of the model's size, or without labels.
    """
    if path is None:
        from golden.data import load_cifar10

        test = load_cifar10(folder).test
        _check_cifar10(graph)
        return LabelledImages(test.pixels[:limit], test.labels[:limit].astype(np.int64))
    images = load_images(path, image_shape(graph), classes=graph.labels, limit=limit)
    if None in images.labels:
        raise ImageError(f"images of {path} must have labels, but {images.names[0]} has none")
    return LabelledImages(images.pixels, np.array(images.labels, np.int64))


def calibration_images(
    path: Path | None, graph: Graph, count: int, folder: Path | None = None
) -> np.ndarray:
    """``count`` images of a folder or .npz archive, or the first training images of CIFAR-10."""
    if path is None:
        from golden.data import load_cifar10

        pixels = load_cifar10(folder).train.pixels[:count]
        _check_cifar10(graph)
        return pixels
    return load_images(path, image_shape(graph), limit=count).pixels


def _check_cifar10(graph: Graph) -> None:
    if image_shape(graph) != (32, 32, 3):
        height, width, channels = image_shape(graph)
        raise ImageError(
            f"model must take CIFAR-10 images (32 x 32 x 3), not {height} x {width} x {channels}; "
            "give images of its own"
        )
