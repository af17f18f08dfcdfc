"""Cuts and variations of photographs, as in the LQ-Nets authors' released ImageNet code.

Images are resized with cubic interpolation. The authors cut 224 pixels out of a shorter side of
256; other sizes keep that proportion.
"""

import math
import random

import numpy as np
from PIL import Image, ImageEnhance

from golden.train_config import Augmentation

SHORTER_SIDE = 256 / 224
"""Shorter side of the image as a multiple of the size of its cut."""

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
ATTEMPTS = 10
JITTER = 0.4
LIGHTING_DEVIATION = 0.1

COLOUR_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045]) * 255
COLOUR_AXES = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
"""Principal components of ImageNet's RGB pixels, in columns (Krizhevsky et al., 2012)."""


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """The image with a shorter side of ``size`` pixels times 8/7."""
    factor = round(size * SHORTER_SIDE) / min(image.size)
    width, height = (max(size, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def centre(image: Image.Image, size: int) -> Image.Image:
    """The middle ``size`` x ``size`` pixels of the resized image: what tests see."""
    image = resize_shorter(image, size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def augmented(
    image: Image.Image, size: int, augmentation: Augmentation, generator: random.Random
) -> Image.Image:
    """A random variation of ``image`` of ``size`` x ``size`` pixels."""
    if augmentation is Augmentation.AREA_CROP:
        image = _lit(_jittered(_area_crop(image, size, generator), generator), generator)
    else:
        image = resize_shorter(image, size)
        left = generator.randint(0, image.width - size)
        top = generator.randint(0, image.height - size)
        image = image.crop((left, top, left + size, top + size))
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def _area_crop(image: Image.Image, size: int, generator: random.Random) -> Image.Image:
    """A window of 8 to 100 % of the area and a random shape, resized (as for GoogLeNet)."""
    for _ in range(ATTEMPTS):
        area = image.width * image.height * generator.uniform(*AREA)
        aspect = generator.uniform(*ASPECT)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if generator.random() < 0.5:
            width, height = height, width
        if 0 < width <= image.width and 0 < height <= image.height:
            left = generator.randint(0, image.width - width)
            top = generator.randint(0, image.height - height)
            box = (left, top, left + width, top + height)
            return image.resize((size, size), Image.Resampling.BICUBIC, box)
    return centre(image, size)


def _jittered(image: Image.Image, generator: random.Random) -> Image.Image:
    """Brightness, contrast and saturation times 0.6..1.4 each, in random order."""
    kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    generator.shuffle(kinds)
    for kind in kinds:
        image = kind(image).enhance(generator.uniform(1 - JITTER, 1 + JITTER))
    return image


def _lit(image: Image.Image, generator: random.Random) -> Image.Image:
    """All pixels moved by a random amount along the principal components of their colours."""
    amounts = [generator.gauss(0, LIGHTING_DEVIATION) for _ in COLOUR_DEVIATIONS]
    shift = COLOUR_AXES @ (np.array(amounts) * COLOUR_DEVIATIONS)
    pixels = np.asarray(image, dtype=np.float32) + shift.astype(np.float32)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
