"""Area of a configuration: LUT4 and flip-flops from a model fitted on real synthesis, block RAMs
and multipliers exactly.

The elements of the array are counted from the gateware itself: a popcount is made of CCU2C
instances, whose number nothing changes. Memories follow the rules of :mod:`sim.explore.memories`.
The rest of each block is linear in a few features, each of which is a number of like parts
(multiplexers, adders, registers); the weights come from least squares over the measurements in
``calibration.csv``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from amaranth.hdl import Fragment, Instance
from amaranth.utils import ceil_log2

from hw.compute.popcount import Popcount
from hw.config import AcceleratorConfig

from .measurements import BLOCKS, Measurement
from .memories import LUTS_PER_DISTRIBUTED, memories_of

__all__ = ["Area", "AreaError", "AreaModel", "AreaModelError", "element_lut4"]

PLACED_PER_LUT4 = 1.11
"""LUT4 that nextpnr occupies per LUT4 of the synthesis: it begins and ends carry chains with cells
of their own, and passes constants through LUTs. The measured pairs are in ``docs/explore.md``."""


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


class _CarryChains:
    """What :func:`hw.compute.carry_chain.has_carry_chains` looks for."""

    device = "LFE5U"


@lru_cache(maxsize=256)
def _popcount_cells(lanes: int) -> int:
    fragment = Fragment.get(Popcount(lanes), _CarryChains())
    return sum(isinstance(part[0], Instance) for part in fragment.subfragments)


def element_lut4(lanes: int, count_width: int) -> int:
    """LUT4 of a processing element: its popcount, an adder, and a gate."""
    return 2 * (_popcount_cells(lanes) + -(-count_width // 2)) + 1


def _elements(config: AcceleratorConfig) -> int:
    """Elements of the array with the counters of ones."""
    return (config.array.rows + 1) * config.array.columns


Features = Callable[[AcceleratorConfig], Sequence[float]]


def _lane_features(config: AcceleratorConfig) -> Sequence[float]:
    """A lane combines the counts of its columns by OR, bit by bit; a LUT4 takes three more."""
    array = config.array
    lanes = array.rows * array.drain_lanes
    gates = -(-(array.drain_period - 1) // 3)
    return lanes, lanes * array.count_width, lanes * array.count_width * gates


def _compute_features(config: AcceleratorConfig) -> Sequence[float]:
    """Per column: operands, and the addresses of its buffers; per row the queue's output."""
    array, memory = config.array, config.memory
    offset = ceil_log2(memory.column_granules)
    ports = 2 * array.columns * -(-array.granules // 2)
    return (
        1,
        array.columns * array.lanes,
        array.columns * array.granules * offset,
        ports * offset,
        array.rows,
        array.columns,
    )


def _post_features(config: AcceleratorConfig) -> Sequence[float]:
    rows = config.array.rows
    return 1, rows, rows * config.datapath.comparators


def _fill_features(config: AcceleratorConfig) -> Sequence[float]:
    memory = config.memory
    addresses = ceil_log2(memory.activation_words) + ceil_log2(memory.column_granules)
    return 1, config.array.rows, config.datapath.patch_pixels, addresses


def _dma_features(config: AcceleratorConfig) -> Sequence[float]:
    return 1, config.array.lanes, config.array.rows, config.datapath.comparators


def _constant(config: AcceleratorConfig) -> Sequence[float]:
    return (1,)


def _memory_features(config: AcceleratorConfig) -> Sequence[float]:
    return 1, config.array.rows, config.memory.external_words / 1024


_FEATURES: dict[str, Features] = {
    "elements": lambda config: (
        _elements(config),
        _elements(config) * config.array.lanes,
        _elements(config) * config.array.count_width,
    ),
    "drain lanes": _lane_features,
    "compute": _compute_features,
    "post": _post_features,
    "fill": _fill_features,
    "dma": _dma_features,
    "sequencer": _constant,
    "control": _constant,
    "memories": _memory_features,
    "host link": _constant,
}
"""Of both LUT4 and flip-flops; the LUT4 of the elements are exact and need none."""


_DISTRIBUTED = {
    "compute": (
        "weights",
        "coefficients",
        "window offsets",
        "window masks",
        "passes",
        "vector queue",
    ),
    "post": ("parameters", "thresholds", "streams"),
    "memories": ("activations", "external"),
}
"""Memories of each block that may become distributed RAM."""


def _exact_lut4(config: AcceleratorConfig, block: str) -> int:
    """LUT4 of a block that are known without a fit."""
    if block == "elements":
        array = config.array
        return _elements(config) * element_lut4(array.lanes, array.count_width)
    memories = memories_of(config)
    return LUTS_PER_DISTRIBUTED * sum(
        memories[name].distributed for name in _DISTRIBUTED.get(block, ())
    )


class AreaModel:
    """Fitted on measurements.

    Raises:
        AreaModelError: There are fewer measurements than features.
    """

    placed_per_lut4 = PLACED_PER_LUT4

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        most = max(len(features(measurements[0].config)) for features in _FEATURES.values())
        if len(measurements) < most:
            raise AreaModelError(
                f"area model must have at least {most} measurements, not {len(measurements)}: run "
                "`lqfpga calibrate`"
            )
        self.measurements = list(measurements)
        configs = [entry.config for entry in measurements]
        self._lut4: dict[str, np.ndarray] = {}
        self._ff: dict[str, np.ndarray] = {}
        for block in BLOCKS:
            matrix = np.array([_FEATURES[block](config) for config in configs], float)
            known = np.array([_exact_lut4(config, block) for config in configs], float)
            luts = np.array([entry.lut4[block] for entry in measurements], float) - known
            ffs = np.array([entry.ff[block] for entry in measurements], float)
            # Relative errors count, as configurations differ by a factor of ten.
            weights = 1 / np.array([entry.lut4_total for entry in measurements], float)
            if block == "elements":
                self._lut4[block] = np.zeros(matrix.shape[1])
            else:
                self._lut4[block] = _least_squares(matrix, luts, weights)
            self._ff[block] = _least_squares(matrix, ffs, weights)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a prediction may."""
        weights = [self._lut4[block].tobytes() + self._ff[block].tobytes() for block in BLOCKS]
        return hashlib.sha256(b"".join(weights)).hexdigest()[:16]

    def predict(self, config: AcceleratorConfig) -> Area:
        """The area of a configuration, whatever its size."""
        lut4, ff = {}, {}
        for block in BLOCKS:
            features = np.array(_FEATURES[block](config), float)
            lut4[block] = _exact_lut4(config, block) + float(features @ self._lut4[block])
            ff[block] = float(features @ self._ff[block])
        memories = memories_of(config).values()
        return Area(
            lut4=lut4,
            ff=ff,
            block_ram=sum(memory.block_rams for memory in memories),
            multipliers=config.multipliers,
        )

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


def _least_squares(matrix: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    solution, *_ = np.linalg.lstsq(matrix * weights[:, None], values * weights, rcond=None)
    return solution
