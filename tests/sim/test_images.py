"""Reading of input images: order, labels, and an error with a reason for everything else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim.images import ImageError, load_images, stacked

SHAPE = (4, 6, 3)
CLASSES = ("cat", "dog")


def picture(path: Path, value: int, *, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path)


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def rejects(path: Path, text: str, shape: tuple[int, int, int] = SHAPE) -> None:
    with pytest.raises(ImageError, match=re.escape(text)):
        load_images(path, shape)


def test_folder_is_read_in_the_order_of_names_with_label_hints(tmp_path: Path) -> None:
    picture(tmp_path / "b_dog.png", 20)
    picture(tmp_path / "a_cat-7.PNG", 10)
    picture(tmp_path / "catalogue.png", 30)
    (tmp_path / "notes.txt").write_text("not an image")
    images = load_images(tmp_path, SHAPE, classes=CLASSES)
    assert images.names == ("a_cat-7", "b_dog", "catalogue")
    assert images.labels == (0, 1, None)
    assert images.pixels.shape == (3, *SHAPE)
    assert images.pixels.dtype == np.uint8
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_jpeg_and_gray_pictures_become_the_channels_of_the_model(tmp_path: Path) -> None:
    picture(tmp_path / "one.jpg", 128)
    picture(tmp_path / "two.png", 77, mode="L")
    pixels = load_images(tmp_path, SHAPE).pixels
    assert (abs(pixels[0].astype(int) - 128) <= 2).all()
    assert (pixels[1] == 77).all()


def test_limit_takes_the_first_images(tmp_path: Path) -> None:
    for value in range(4):
        picture(tmp_path / f"{value}.png", value)
    assert load_images(tmp_path, SHAPE, limit=2).names == ("0", "1")
    with pytest.raises(ImageError, match="limit must be at least 1, not 0"):
        load_images(tmp_path, SHAPE, limit=0)


def test_archive_gives_images_and_labels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, *SHAPE), np.uint8)
    path = archive(tmp_path / "set.npz", images=pixels, labels=np.arange(5))
    images = load_images(path, SHAPE, limit=3)
    assert (images.pixels == pixels[:3]).all()
    assert images.labels == (0, 1, 2)
    unlabelled = load_images(archive(tmp_path / "plain.npz", images=pixels), SHAPE)
    assert unlabelled.labels == (None,) * 5


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    rejects(tmp_path, f"folder {tmp_path} must hold at least one .png or .jpg file")


def test_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "small.png", 1, size=(5, 4))
    rejects(tmp_path, "image small.png must be 6 x 4 pixels, not 5 x 4")


def test_damaged_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    rejects(tmp_path, "image broken.png must be readable")


def test_model_with_two_channels_needs_an_archive(tmp_path: Path) -> None:
    picture(tmp_path / "one.png", 1)
    rejects(tmp_path, "model must have 1, 3 or 4 channels to read one.png, not 2", (4, 6, 2))


def test_missing_and_foreign_paths_are_refused(tmp_path: Path) -> None:
    rejects(tmp_path / "no.npz", "images must be an existing folder or .npz archive")
    other = tmp_path / "images.bin"
    other.write_bytes(b"")
    rejects(other, "images must be a folder or an .npz archive, not images.bin")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04pickle"])
def test_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    rejects(path, "archive set.npz must be readable")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    rejects(
        archive(tmp_path / "set.npz", images=np.array([{"a": 1}], object)),
        "archive set.npz must be readable",
    )


def test_archive_of_wrong_content_is_refused(tmp_path: Path) -> None:
    good = np.zeros((2, *SHAPE), np.uint8)
    path = tmp_path / "set.npz"
    rejects(archive(path, pictures=good), "archive set.npz must hold the array images")
    rejects(archive(path, images=good[:0]), "archive set.npz must hold at least one image")
    rejects(
        archive(path, images=good.astype(np.float32)),
        "images of set.npz must be uint8, count x 4 x 6 x 3, not float32, 2 x 4 x 6 x 3",
    )
    rejects(archive(path, images=good[:, :3]), "not uint8, 2 x 3 x 6 x 3")
    rejects(
        archive(path, images=good, labels=np.zeros(3, int)),
        "labels of set.npz must be 2 integers, not int64 (3,)",
    )
    rejects(archive(path, images=good, labels=np.zeros(2)), "must be 2 integers, not float64 (2,)")


def test_batches_lie_one_below_the_other_and_the_last_image_fills_up() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 3, 2), np.uint8)
    batches = stacked(pixels, 2)
    assert batches.shape == (3, 8, 3, 2)
    for image in range(6):
        part = batches[image // 2, 4 * (image % 2) : 4 * (image % 2 + 1)]
        np.testing.assert_array_equal(part, pixels[min(image, 4)])
