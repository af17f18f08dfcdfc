"""What the parent process and the simulated test bench exchange: files in a folder for each job."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .trace import Geometry

__all__ = [
    "ACCUMULATOR_SUFFIX",
    "IMAGES_FILE",
    "MEMORY_FILE",
    "PROGRAM_FILE",
    "ImageResult",
    "Job",
    "ResultReader",
    "Window",
    "expected_file",
    "folders_in_environment",
    "folders_of_environment",
    "load_expected",
]

FOLDERS_VARIABLE = "LQFPGA_SIM_FOLDERS"
"""Environment variable with the folders of the jobs, in their order, as JSON."""
ACCUMULATOR_SUFFIX = ".accumulator"
"""After a layer's name: key of its accumulators among the expected arrays."""
JOB_FILE = "job.json"
PROGRAM_FILE = "program.lqp"
IMAGES_FILE = "images.npy"
MEMORY_FILE = "external.hex"
"""Words that a large external memory has from the start, one a line."""
RESULTS_FILE = "results.jsonl"


def folders_in_environment(folders: Sequence[Path]) -> dict[str, str]:
    """Environment by which a test bench finds the folders of its jobs."""
    return {FOLDERS_VARIABLE: json.dumps([str(folder.absolute()) for folder in folders])}


def folders_of_environment() -> list[Path]:
    """The folders that :func:`folders_in_environment` was given, in the test bench."""
    return [Path(folder) for folder in json.loads(os.environ[FOLDERS_VARIABLE])]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Cycles of a run, counted from its start, that go to the waveform file."""

    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the test bench shall do."""

    geometry: Geometry
    fingerprint: int
    images: tuple[int, ...]
    """Indices into the images (batches are one) and the expected arrays, in the order of the
    runs."""
    timeout_cycles: int
    """A run that takes longer is stopped."""
    preloaded: bool = False
    """The external memory starts with the program, which the host need not write then."""
    window: Window | None = None
    """Record these cycles of the (only) image and stop there."""
    planes: tuple[int, ...] = ()
    """Weight planes that each image is run with; empty: as the program starts."""

    def save(self, folder: Path) -> None:
        (folder / JOB_FILE).write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(folder: Path) -> Job:
        fields = json.loads((folder / JOB_FILE).read_text())
        fields["geometry"] = Geometry(**fields["geometry"])
        fields["images"] = tuple(fields["images"])
        fields["planes"] = tuple(fields["planes"])
        fields["window"] = Window(**fields["window"]) if fields["window"] else None
        return Job(**fields)


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What the test bench reports of one run; one JSON line of the results file."""

    image: int
    cycles: int
    seconds: float
    """Wall time of the run and its comparison."""
    logits: list[int]
    counters: list[int]
    """In the order of ``hw.isa.Counter``."""
    layers: list[dict[str, Any]]
    """Name, cycles, values_compared, values_mismatched: the layers, then the logits read back."""
    mismatch: dict[str, Any] | None
    """Fields of :class:`sim.check.Mismatch` of the first layer that differs."""
    error: str | None = None
    """Trap or time-out; the rest is then what was seen before it."""

    def append(self, folder: Path) -> None:
        with (folder / RESULTS_FILE).open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


@dataclass
class ResultReader:
    """Results as they appear in the file."""

    folder: Path
    _position: int = field(default=0, init=False)

    def new(self) -> list[ImageResult]:
        """Results that were written since the last call."""
        path = self.folder / RESULTS_FILE
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return [ImageResult(**json.loads(line)) for line in whole.splitlines()]


def expected_file(folder: Path, image: int) -> Path:
    """Archive with the expected arrays of one run."""
    return folder / f"expected-{image:05d}.npz"


def load_expected(folder: Path, image: int) -> dict[str, np.ndarray]:
    """Expected arrays by tensor name, accumulators by layer name and suffix."""
    with np.load(expected_file(folder, image), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive}
