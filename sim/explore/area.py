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
from .memories import memories_of

__all__ = ["Area", "AreaError", "AreaModel", "AreaModelError", "element_lut4"]

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


def _element_ff(config: AcceleratorConfig) -> Sequence[float]:
    elements = _elements(config)
    return elements, elements * config.array.lanes, elements * config.array.count_width


def _lane_lut4(config: AcceleratorConfig) -> Sequence[float]:
    """A lane combines the counts of its columns by OR, bit by bit; a LUT4 takes three more."""
    array = config.array
    lanes = array.rows * array.drain_lanes
    gates = -(-(array.drain_period - 1) // 3)
    return lanes, lanes * array.count_width, lanes * array.count_width * gates


def _lane_ff(config: AcceleratorConfig) -> Sequence[float]:
    """A lane holds the accumulators of its columns."""
    array = config.array
    lanes = array.rows * array.drain_lanes
    return lanes, lanes * array.count_width, lanes * array.drain_period


def _compute_lut4(config: AcceleratorConfig) -> Sequence[float]:
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


def _compute_ff(config: AcceleratorConfig) -> Sequence[float]:
    """Per column: operands, offsets on their way, addresses; per row the queue's output."""
    array, memory = config.array, config.memory
    offset = ceil_log2(memory.column_granules)
    ports = 2 * array.columns * -(-array.granules // 2)
    return 1, array.columns * array.lanes, ports * offset, array.rows, array.columns


def _known_ff(config: AcceleratorConfig, block: str) -> int:
    """Flip-flops that are known without a fit: weights and mask hop from column to column."""
    array = config.array
    hops = (array.columns - 1) * (array.rows + 1) * array.lanes
    return hops if block == "compute" else 0


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


_FEATURES: dict[str, tuple[Features, Features]] = {
    "elements": (_element_ff, _element_ff),
    "drain lanes": (_lane_lut4, _lane_ff),
    "compute": (_compute_lut4, _compute_ff),
    "post": (_post_features, _post_features),
    "fill": (_fill_features, _fill_features),
    "dma": (_dma_features, _dma_features),
    "sequencer": (_constant, _constant),
    "control": (_constant, _constant),
    "memories": (_memory_features, _memory_features),
    "host link": (_constant, _constant),
}
"""Of LUT4 and of flip-flops; the LUT4 of the elements are exact and need none."""


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


def _known_lut4(config: AcceleratorConfig, block: str) -> float:
    """LUT4 of a block that are known without a fit."""
    if block == "elements":
        array = config.array
        return _elements(config) * element_lut4(array.lanes, array.count_width)
    memories = memories_of(config)
    return sum(memories[name].lut4 for name in _DISTRIBUTED.get(block, ()))


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
        for block, (lut4_features, ff_features) in _FEATURES.items():
            known = [_known_lut4(config, block) for config in configs]
            luts = [entry.lut4[block] for entry in measurements]
            ffs = [entry.ff[block] for entry in measurements]
            rest = np.array(luts, float) - np.array(known, float)
            if block == "elements":
                rest[:] = 0
            self._lut4[block] = _least_squares(lut4_features, configs, rest, weights)
            rest = np.array(ffs, float) - [_known_ff(config, block) for config in configs]
            self._ff[block] = _least_squares(ff_features, configs, rest, weights)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a prediction may."""
        weights = [self._lut4[block].tobytes() + self._ff[block].tobytes() for block in BLOCKS]
        return hashlib.sha256(b"".join(weights)).hexdigest()[:16]

    def predict(self, config: AcceleratorConfig) -> Area:
        """The area of a configuration, whatever its size."""
        lut4, ff = {}, {}
        for block, (lut4_features, ff_features) in _FEATURES.items():
            fitted = float(np.array(lut4_features(config)) @ self._lut4[block])
            lut4[block] = _known_lut4(config, block) + fitted
            fitted = float(np.array(ff_features(config)) @ self._ff[block])
            ff[block] = _known_ff(config, block) + fitted
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


def _least_squares(
    features: Features,
    configs: Sequence[AcceleratorConfig],
    values: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    matrix = np.array([features(config) for config in configs], float) * weights[:, None]
    solution, *_ = np.linalg.lstsq(matrix, values * weights, rcond=None)
    return solution
