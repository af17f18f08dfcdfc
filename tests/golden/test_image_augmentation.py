"""Cuts of photographs, and what varies in them."""

import random

import numpy as np
import pytest
from PIL import Image

from golden.image_augmentation import augmented, centre, resize_shorter
from golden.train_config import Augmentation


def gradient(width: int, height: int) -> Image.Image:
    """Red tells the column and green the row, 0..255 from edge to edge."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).round()[None, :]
    pixels[..., 1] = np.linspace(0, 255, height).round()[:, None]
    pixels[..., 2] = 128
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [
        (224, (500, 375), (341, 256)),
        (224, (100, 400), (256, 1024)),
        (32, (40, 48), (37, 44)),
        (7, (64, 64), (8, 8)),
    ],
)
def test_shorter_side_becomes_8_7_of_the_cut(
    size: int, given: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resize_shorter(Image.new("RGB", given), size).size == expected


def test_centre_is_the_middle() -> None:
    pixels = np.asarray(centre(gradient(512, 256), 224), dtype=float)
    assert pixels.shape == (224, 224, 3)
    assert pixels[112, 112] == pytest.approx([127.5, 127.5, 128], abs=2)
    # 224 of 512 columns and of 256 rows.
    assert np.ptp(pixels[..., 0]) == pytest.approx(255 * 224 / 512, abs=2)
    assert np.ptp(pixels[..., 1]) == pytest.approx(255 * 224 / 256, abs=2)


def varied(augmentation: Augmentation, count: int = 200) -> np.ndarray:
    image = gradient(64, 64)
    return np.stack(
        [
            np.asarray(augmented(image, 28, augmentation, random.Random(seed)), dtype=float)
            for seed in range(count)
        ]
    )


def test_crops_move_and_mirror() -> None:
    pixels = varied(Augmentation.CROP)
    # Of 32 pixels a cut has 28, so that it starts in one of 5 rows and columns.
    first_rows = {round(value * 31 / 255) for value in pixels[:, 0, 0, 1]}
    assert first_rows == {0, 1, 2, 3, 4}
    mirrored = pixels[:, 0, 0, 0] > pixels[:, 0, -1, 0]
    assert 70 < mirrored.sum() < 130
    assert np.ptp(pixels[..., 0], axis=(1, 2)) == pytest.approx(255 * 27 / 31, abs=6)
    assert (pixels[..., 2] == 128).all()


def test_area_crops_have_many_scales_and_colours() -> None:
    pixels = varied(Augmentation.AREA_CROP)
    assert pixels.shape == (200, 28, 28, 3)
    # Rows covered, in contrast changed by 0.6..1.4 twice: from 8 % of the area to all of it.
    rows = np.ptp(pixels[..., 1], axis=(1, 2))
    assert rows.min() < 60
    assert rows.max() > 180
    blue = pixels[..., 2].mean((1, 2))
    assert blue.std() > 15
    assert 70 < (pixels[:, 14, 0, 0] > pixels[:, 14, -1, 0]).sum() < 130


def test_the_generator_decides_everything() -> None:
    for augmentation in (Augmentation.CROP, Augmentation.AREA_CROP):
        assert np.array_equal(varied(augmentation, 5), varied(augmentation, 5))


def test_a_window_that_never_fits_is_the_centre() -> None:
    # Windows of at most 4:3 do not fit an image of 1 x 300 pixels often enough to count on it.
    thin = Image.new("RGB", (300, 1), (9, 9, 9))
    assert augmented(thin, 8, Augmentation.AREA_CROP, random.Random(1)).size == (8, 8)
