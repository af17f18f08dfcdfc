"""Input images for simulated runs: a folder of PNG or JPEG files, an .npz archive, or noise."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageError", "ImageSet", "load_images", "random_images", "stacked"]

SUFFIXES = (".png", ".jpg", ".jpeg")
RANDOM_SEED = 1


class ImageError(ValueError):
    """Images that cannot be read or do not fit the model; the text names the file and the rule."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images in a fixed order."""

    pixels: NDArray[np.uint8]
    """[count, height, width, channels]."""
    names: tuple[str, ...]
    """File names without the ending, or indices."""
    labels: tuple[int | None, ...]
    """Class numbers, where known."""

    def first(self, limit: int | None) -> ImageSet:
        """The first ``limit`` images; None takes all."""
        return ImageSet(
            pixels=self.pixels[:limit], names=self.names[:limit], labels=self.labels[:limit]
        )


def _label_hint(name: str, classes: tuple[str, ...]) -> int | None:
    """The class whose name is a part of the file name (``cat_0042``), else None."""
    parts = name.lower().replace("-", "_").split("_")
    for number, label in enumerate(classes):
        if label.lower() in parts:
            return number
    return None


def _read_image(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise ImageError(f"model must have 1, 3 or 4 channels to read {path.name}, not {channels}")
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise ImageError(
                    f"image {path.name} must be {width} x {height} pixels, "
                    f"not {image.width} x {image.height}"
                )
            return np.asarray(image.convert(mode), np.uint8).reshape(shape)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ImageError(f"image {path.name} must be readable: {error}") from error


def _load_folder(
    folder: Path, shape: tuple[int, int, int], classes: tuple[str, ...], limit: int | None
) -> ImageSet:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ImageError(f"folder {folder} must hold at least one .png or .jpg file")
    paths = paths[:limit]
    return ImageSet(
        pixels=np.stack([_read_image(path, shape) for path in paths]),
        names=tuple(path.stem for path in paths),
        labels=tuple(_label_hint(path.stem, classes) for path in paths),
    )


def _load_archive(path: Path, shape: tuple[int, int, int]) -> ImageSet:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if "images" not in archive:
                raise ImageError(f"archive {path.name} must hold the array images")
            pixels = archive["images"]
            labels = archive.get("labels")
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"archive {path.name} must be readable: {error}") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != shape:
        wanted = " x ".join(str(size) for size in shape)
        got = " x ".join(str(size) for size in pixels.shape)
        raise ImageError(
            f"images of {path.name} must be uint8, count x {wanted}, not {pixels.dtype}, {got}"
        )
    count = len(pixels)
    if not count:
        raise ImageError(f"archive {path.name} must hold at least one image")
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        raise ImageError(
            f"labels of {path.name} must be {count} integers, not {labels.dtype} {labels.shape}"
        )
    return ImageSet(
        pixels=pixels,
        names=tuple(str(index) for index in range(count)),
        labels=(None,) * count if labels is None else tuple(int(label) for label in labels),
    )


def stacked(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Images [N, height, width, C] as batches of ``count`` that lie one below the other:
    [batches, count * height, width, C]. The last image fills up the last batch."""
    missing = -len(pixels) % count
    filled = np.concatenate([pixels, pixels[-1:].repeat(missing, axis=0)])
    return filled.reshape(-1, count * pixels.shape[1], *pixels.shape[2:])


def random_images(shape: tuple[int, int, int], count: int, seed: int = RANDOM_SEED) -> ImageSet:
    """Noise, for runs without data: the comparison needs no real images."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return ImageSet(
        pixels=pixels,
        names=tuple(f"noise-{index}" for index in range(count)),
        labels=(None,) * count,
    )


def load_images(
    path: Path,
    shape: tuple[int, int, int],
    *,
    classes: tuple[str, ...] = (),
    limit: int | None = None,
) -> ImageSet:
    """Images of ``shape`` (height, width, channels) from a folder or an .npz archive.

    A folder gives its .png and .jpg files sorted by name; a class name in the file name is taken
    as the label. An archive has ``images`` (uint8, count x height x width x channels) and may have
    ``labels``. Raises :class:`ImageError`.
    """
    if limit is not None and limit < 1:
        raise ImageError(f"limit must be at least 1, not {limit}")
    if path.is_dir():
        return _load_folder(path, shape, classes, limit)
    if not path.exists():
        raise ImageError(f"images must be an existing folder or .npz archive, not {path}")
    if path.suffix != ".npz":
        raise ImageError(f"images must be a folder or an .npz archive, not {path.name}")
    return _load_archive(path, shape).first(limit)
