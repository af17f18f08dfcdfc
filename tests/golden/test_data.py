"""CIFAR-10 readers: both original formats, the npm package, and everything that can be wrong."""

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from golden import data
from golden.data import (
    Cifar10,
    DataError,
    Images,
    load_cifar10,
    prepare,
    read_binary_batch,
    read_folder,
    read_package,
    read_pickle_batch,
    save_cifar10,
)

PER_BATCH = 4
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def random_images(count: int, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 10, count, dtype=np.uint8))


def planes_of(images: Images) -> np.ndarray:
    """Rows of 3072 bytes, the order of the original files."""
    return images.pixels.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_pickle(path: Path, images: Images) -> None:
    content = {b"data": planes_of(images), b"labels": images.labels.tolist()}
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_binary(path: Path, images: Images) -> None:
    path.write_bytes(np.hstack([images.labels[:, None], planes_of(images)]).tobytes())


def silent(text: str) -> None:
    del text


@pytest.fixture
def six_batches() -> list[Images]:
    return [random_images(PER_BATCH, seed) for seed in range(6)]


def assert_same(read: Images, written: Images) -> None:
    assert np.array_equal(read.pixels, written.pixels)
    assert np.array_equal(read.labels, written.labels)


@pytest.mark.parametrize(("suffix", "write"), [("", write_pickle), (".bin", write_binary)])
def test_folder_of_either_format(
    tmp_path: Path, six_batches: list[Images], suffix: str, write: object
) -> None:
    assert callable(write)
    for name, batch in zip(NAMES, six_batches, strict=True):
        write(tmp_path / (name + suffix), batch)
    read = read_folder(tmp_path, silent)
    assert len(read.train) == 5 * PER_BATCH
    assert_same(read.test, six_batches[5])
    for i, batch in enumerate(six_batches[:5]):
        part = slice(i * PER_BATCH, (i + 1) * PER_BATCH)
        assert_same(Images(read.train.pixels[part], read.train.labels[part]), batch)


def test_incomplete_folder(tmp_path: Path) -> None:
    write_binary(tmp_path / "data_batch_1.bin", random_images(1))
    with pytest.raises(DataError, match=r"must hold data_batch_1 \.\. test_batch"):
        read_folder(tmp_path, silent)


class Evil:
    """Runs a command when it is unpickled by an ordinary unpickler."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}),
        pickle.dumps({b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2, 3]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": ["a", "b"]}),
        pickle.dumps([1, 2, 3]),
        pickle.dumps(Evil()),
        pickle.dumps({b"data": eval}),
    ],
    ids=[
        "empty",
        "garbage",
        "no labels",
        "short rows",
        "float pixels",
        "too many labels",
        "label 10",
        "text labels",
        "a list",
        "a command",
        "a function",
    ],
)
def test_damaged_pickle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_pickle_batch(path)


def test_truncated_pickle(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    write_pickle(path, random_images(3))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="must be a CIFAR-10 python batch"):
        read_pickle_batch(path)


def test_command_in_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"posix\.system is not part of a CIFAR-10 file"):
        read_pickle_batch(path)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074])
def test_damaged_binary(tmp_path: Path, size: int) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(DataError, match=f"must be a whole number of 3073-byte records, not {size}"):
        read_binary_batch(path)


def write_package(path: Path, batches: list[Images]) -> None:
    def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(f"package/{name}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))

    with tarfile.open(path, "w:gz") as tar:
        for name, batch in zip(NAMES, batches, strict=True):
            file = io.BytesIO()
            Image.fromarray(batch.pixels.reshape(len(batch), 1024, 3)).save(file, "PNG")
            add(tar, f"{name}.png", file.getvalue())
        labels = [label for batch in batches[:-1] for label in batch.labels.tolist()]
        add(tar, "train_lables.json", json.dumps(labels).encode())
        add(tar, "test_lables.json", json.dumps(batches[-1].labels.tolist()).encode())


def test_package(tmp_path: Path, six_batches: list[Images]) -> None:
    archive = tmp_path / "package.tgz"
    write_package(archive, six_batches)
    read = read_package(archive, silent)
    assert_same(read.test, six_batches[5])
    assert np.array_equal(read.train.pixels[:PER_BATCH], six_batches[0].pixels)
    assert np.array_equal(read.train.labels[-PER_BATCH:], six_batches[4].labels)


def test_package_without_a_member(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(DataError, match=r"must contain package/train_lables\.json"):
        read_package(archive, silent)


def test_cache_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LQFPGA_DATA", str(tmp_path / "cache"))
    written = Cifar10(random_images(7), random_images(3, 1))
    path = save_cifar10(written, tmp_path / "cache")
    read = load_cifar10()
    assert_same(read.train, written.train)
    assert_same(read.test, written.test)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_missing_cache_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`make data` fetches CIFAR-10"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -10])
def test_damaged_cache(tmp_path: Path, keep: int) -> None:
    path = save_cifar10(Cifar10(random_images(7), random_images(3)), tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="is damaged"):
        load_cifar10(tmp_path)


def test_interrupted_write_leaves_the_old_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Cifar10(random_images(2), random_images(2))
    save_cifar10(old, tmp_path)

    def fail(file: io.BufferedWriter, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError("disk is full")

    monkeypatch.setattr(data.np, "savez", fail)
    with pytest.raises(OSError, match="disk is full"):
        save_cifar10(Cifar10(random_images(5), random_images(5)), tmp_path)
    assert_same(load_cifar10(tmp_path).train, old.train)


def test_prepare_refuses_a_part_of_the_data_set(tmp_path: Path, six_batches: list[Images]) -> None:
    for name, batch in zip(NAMES, six_batches, strict=True):
        write_binary(tmp_path / f"{name}.bin", batch)
    with pytest.raises(DataError, match=r"must have 50000 \+ 10000 images, not \(20, 4\)"):
        prepare(tmp_path / "cache", tmp_path, silent)
    assert not (tmp_path / "cache").exists()


def test_prepare_needs_npm_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="npm must be installed"):
        prepare(tmp_path / "cache", report=silent)


def test_prepare_keeps_what_is_there(tmp_path: Path) -> None:
    path = save_cifar10(Cifar10(random_images(2), random_images(2)), tmp_path)
    lines: list[str] = []
    assert prepare(tmp_path, report=lines.append) == path
    assert lines == [f"{path} is already there"]


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 32, 32, 3), np.int16), np.zeros(2, np.uint8), r"^pixels must be uint8 "),
        (np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2, np.uint8), r"^pixels must be uint8 "),
        (np.zeros((2, 32, 32, 3), np.uint8), np.zeros(3, np.uint8), r"^labels must be uint8 "),
        (np.zeros((1, 32, 32, 3), np.uint8), np.array([10], np.uint8), r"^labels must be below 10"),
    ],
)
def test_images_are_checked(pixels: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Images(pixels, labels)
