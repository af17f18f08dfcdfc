"""Area of a configuration: LUT4 and flip-flops from a model fitted on real synthesis, block RAMs
and multipliers exactly.

The elements of the array are counted from the gateware itself: a popcount is made of CCU2C
instances, whose number nothing changes. Memories follow the rules of :mod:`sim.explore.memories`.
The rest of each block is linear in a few features (:mod:`sim.explore.area_features`), each of which
is a number of like parts; the weights come from least squares over the measurements in
``calibration.csv``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.config import AcceleratorConfig

from .area_features import FEATURES, Features, known_ff, known_lut4
from .measurements import BLOCKS, Measurement
from .memories import memories_of

__all__ = ["Area", "AreaError", "AreaModel", "AreaModelError"]

PLACED_PER_LUT4 = 1.11
"""LUT4 that nextpnr occupies per LUT4 of the synthesis: it begins and ends carry chains with cells
of their own, and passes constants through LUTs. The measured pairs are in ``docs/explore.md``."""


LEAST_MEASUREMENTS = 8
"""More than any block has features."""


class AreaModelError(ValueError):
    """Too few measurements to fit the model."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """What a configuration occupies."""

    lut4: Mapping[str, float] = field(hash=False)
    """By block, as synthesis counts: a carry cell is two, a distributed RAM is six."""
    ff: Mapping[str, float] = field(hash=False)
    """By block."""
    block_ram: int
    multipliers: int

    @property
    def lut4_total(self) -> float:
        return sum(self.lut4.values())

    @property
    def ff_total(self) -> float:
        return sum(self.ff.values())


@dataclass(frozen=True, kw_only=True)
class AreaError:
    """What the model says of a configuration that it was not fitted on, and what is true."""

    name: str
    lut4: tuple[float, int]
    """Predicted and measured."""
    ff: tuple[float, int]
    block_ram: tuple[int, int]
    multipliers: tuple[int, int]

    @property
    def lut4_error(self) -> float:
        """Relative, of the measured figure."""
        return self.lut4[0] / self.lut4[1] - 1

    @property
    def ff_error(self) -> float:
        return self.ff[0] / self.ff[1] - 1


class AreaModel:
    """Fitted on measurements.

    Raises:
        AreaModelError: There are fewer measurements than features.
    """

    placed_per_lut4 = PLACED_PER_LUT4

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        if len(measurements) < LEAST_MEASUREMENTS:
            raise AreaModelError(
                f"area model must have at least {LEAST_MEASUREMENTS} measurements, not "
                f"{len(measurements)}: run `lqfpga calibrate`"
            )
        self.measurements = list(measurements)
        configs = [entry.config for entry in measurements]
        self._lut4: dict[str, np.ndarray] = {}
        self._ff: dict[str, np.ndarray] = {}
        # Relative errors count, as configurations differ by a factor of ten.
        weights = 1 / np.array([entry.lut4_total for entry in measurements], float)
        for block, (lut4_features, ff_features) in FEATURES.items():
            known = [known_lut4(config, block) for config in configs]
            luts = [entry.lut4[block] for entry in measurements]
            ffs = [entry.ff[block] for entry in measurements]
            rest = np.array(luts, float) - np.array(known, float)
            if block == "elements":
                rest[:] = 0
            self._lut4[block] = _least_squares(_matrix(lut4_features, configs), rest, weights)
            rest = np.array(ffs, float) - [known_ff(config, block) for config in configs]
            self._ff[block] = _least_squares(_matrix(ff_features, configs), rest, weights)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a prediction may."""
        weights = [self._lut4[block].tobytes() + self._ff[block].tobytes() for block in BLOCKS]
        return hashlib.sha256(b"".join(weights)).hexdigest()[:16]

    def predict(self, config: AcceleratorConfig) -> Area:
        """The area of a configuration, whatever its size."""
        lut4, ff = {}, {}
        for block, (lut4_features, ff_features) in FEATURES.items():
            row = _matrix(lut4_features, [config])[0]
            lut4[block] = known_lut4(config, block) + float(row @ self._lut4[block])
            row = _matrix(ff_features, [config])[0]
            ff[block] = known_ff(config, block) + float(row @ self._ff[block])
        block_ram = sum(memory.block_rams for memory in memories_of(config).values())
        return Area(lut4=lut4, ff=ff, block_ram=block_ram, multipliers=config.multipliers)

    def compare(self, measurement: Measurement) -> AreaError:
        """Prediction and truth of one configuration."""
        area = self.predict(measurement.config)
        return AreaError(
            name=measurement.config.name,
            lut4=(area.lut4_total, measurement.lut4_total),
            ff=(area.ff_total, measurement.ff_total),
            block_ram=(area.block_ram, measurement.block_ram),
            multipliers=(area.multipliers, measurement.multipliers),
        )

    def leave_one_out(self) -> list[AreaError]:
        """Each measurement against a model that is fitted on all others."""
        return [
            AreaModel([*self.measurements[:index], *self.measurements[index + 1 :]]).compare(entry)
            for index, entry in enumerate(self.measurements)
        ]


def _matrix(features: Features, configs: Sequence[AcceleratorConfig]) -> np.ndarray:
    """Features of each configuration."""
    return np.array([list(features(config)) for config in configs], float)


def _least_squares(matrix: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    solution, *_ = np.linalg.lstsq(matrix * weights[:, None], values * weights, rcond=None)
    return solution
