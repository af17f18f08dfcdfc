"""Clocks that configurations reached when they were placed and routed, and a model fitted on them.

The critical paths of this design are routing for the most part, so a period may depend on the side
of the area that the cells take, which grows with the square root of their number, and on the
detours of wires where the device is full. The weights of both are whatever fits; with the few
measurements that there are, they tell devices apart more than areas, and mean nothing beyond these.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.config import AcceleratorConfig

from .fields import FIELDS, changed, sizes_of
from .measurements import MeasurementError

__all__ = [
    "CLOCKS",
    "LEAST_CLOCKS",
    "ClockError",
    "ClockMeasurement",
    "ClockModel",
    "read_clocks",
    "write_clocks",
]

CLOCKS = Path(__file__).parent / "clocks.csv"
"""The data set of this repository; ``lqfpga calibrate --clock`` makes it."""
LEAST_CLOCKS = 6
"""Measurements to fit on: twice the number of features."""
_COLUMNS = ("board", "seed", "asked_mhz", "routed_mhz", "lut4", "device_lut4", "seconds")
_VERSIONS = ("sources", "yosys", "nextpnr", "amaranth")


@dataclass(frozen=True, kw_only=True)
class ClockMeasurement:
    """One configuration, placed and routed with one seed."""

    config: AcceleratorConfig
    board: str
    """Key of ``hw.board.ulx3s.BOARDS``."""
    seed: int
    asked_mhz: float
    routed_mhz: float
    lut4: int
    """That nextpnr occupies."""
    device_lut4: int
    """That there are."""
    seconds: float
    """All tools."""
    sources: str
    """Hash of the gateware's sources."""
    yosys: str
    nextpnr: str
    amaranth: str


@dataclass(frozen=True, kw_only=True)
class ClockError:
    """What a model that was fitted on all others says of a measurement."""

    name: str
    predicted_mhz: float
    routed_mhz: float

    @property
    def error(self) -> float:
        """Relative, of the routed clock."""
        return self.predicted_mhz / self.routed_mhz - 1


class ClockModel:
    """Least squares of the period.

    Raises:
        MeasurementError: There are fewer measurements than ``LEAST_CLOCKS``.
    """

    def __init__(self, measurements: Sequence[ClockMeasurement]) -> None:
        if len(measurements) < LEAST_CLOCKS:
            raise MeasurementError(
                f"clock model must have at least {LEAST_CLOCKS} measurements, not "
                f"{len(measurements)}: run `lqfpga calibrate --clock`"
            )
        self.measurements = list(measurements)
        matrix = np.array([_features(entry.lut4, entry.device_lut4) for entry in measurements])
        periods = np.array([1e3 / entry.routed_mhz for entry in measurements])
        weights = 1 / periods  # relative errors count
        self._solution, *_ = np.linalg.lstsq(
            matrix * weights[:, None], periods * weights, rcond=None
        )

    def predict(self, lut4: float, device_lut4: int) -> float:
        """MHz of a design that occupies ``lut4`` of the ``device_lut4`` that there are."""
        return 1e3 / float(_features(lut4, device_lut4) @ self._solution)

    def leave_one_out(self) -> list[ClockError]:
        """Each measurement against a model that is fitted on all others.

        Raises:
            MeasurementError: There are too few others.
        """
        errors = []
        for index, entry in enumerate(self.measurements):
            model = ClockModel([*self.measurements[:index], *self.measurements[index + 1 :]])
            errors.append(
                ClockError(
                    name=entry.config.name,
                    predicted_mhz=model.predict(entry.lut4, entry.device_lut4),
                    routed_mhz=entry.routed_mhz,
                )
            )
        return errors


def _features(lut4: float, device_lut4: int) -> np.ndarray:
    """ns: a path of its own, per side of the area, per share of the device."""
    return np.array([1.0, (lut4 / 1e3) ** 0.5, lut4 / device_lut4])


def write_clocks(path: Path, measurements: Iterable[ClockMeasurement]) -> None:
    """Write a CSV file in one step, in the order given."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *FIELDS, *_COLUMNS, *_VERSIONS])
    for entry in measurements:
        values = [getattr(entry, name) for name in (*_COLUMNS, *_VERSIONS)]
        writer.writerow([entry.config.name, *sizes_of(entry.config).values(), *values])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(path)


def read_clocks(path: Path = CLOCKS) -> list[ClockMeasurement]:
    """The rows of a CSV file; none if there is no file.

    Raises:
        MeasurementError: The file is not such a table.
    """
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [_measurement(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"clocks {path} must be of this version: {error!r}") from error


def _measurement(row: Mapping[str, str]) -> ClockMeasurement:
    sizes = {name: int(row[name]) for name in FIELDS}
    return ClockMeasurement(
        config=changed(AcceleratorConfig(name="measured"), sizes, name=row["name"]),
        board=row["board"],
        seed=int(row["seed"]),
        asked_mhz=float(row["asked_mhz"]),
        routed_mhz=float(row["routed_mhz"]),
        lut4=int(row["lut4"]),
        device_lut4=int(row["device_lut4"]),
        seconds=float(row["seconds"]),
        **{name: row[name] for name in _VERSIONS},
    )
