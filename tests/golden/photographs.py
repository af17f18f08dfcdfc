"""A small made-up data set in ImageNet's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["COLOURS", "write_photographs"]

COLOURS = {"n01-red": (200, 40, 40), "n02-green": (40, 200, 40), "n03-blue": (40, 40, 200)}


def write_photographs(folder: Path, train: int, val: int, size: tuple[int, int] = (48, 40)) -> Path:
    """``train`` and ``val`` noisy JPEG images per class, of the class's colour."""
    rng = np.random.default_rng(1)
    for part, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            own = folder / part / name
            own.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(-30, 31, (size[1], size[0], 3))
                pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(own / f"{name}_{i}.JPEG", quality=95)
    return folder
