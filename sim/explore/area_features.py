"""What the area of each block is linear in: numbers of like parts, such as multiplexers, adders and
registers; and what of it is known without a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from amaranth.hdl import Fragment, Instance
from amaranth.utils import ceil_log2

from hw.compute.popcount import Popcount
from hw.config import AcceleratorConfig

from .memories import memories_of

__all__ = ["FEATURES", "Features", "element_lut4", "known_ff", "known_lut4"]


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


def known_ff(config: AcceleratorConfig, block: str) -> int:
    """Flip-flops that are known without a fit: weights and mask hop from column to column."""
    array = config.array
    hops = (array.columns - 1) * (array.rows + 1) * array.lanes
    return hops if block == "compute" else 0


def _spilled_rows(config: AcceleratorConfig) -> int:
    """Width of the vectors that are spilled; 0 if none are."""
    return config.array.rows if config.memory.spill_vectors else 0


def _post_features(config: AcceleratorConfig) -> Sequence[float]:
    rows = config.array.rows
    return 1, rows, rows * config.datapath.comparators, _spilled_rows(config)


def _fill_features(config: AcceleratorConfig) -> Sequence[float]:
    memory = config.memory
    addresses = ceil_log2(memory.activation_words) + ceil_log2(memory.column_granules)
    return 1, config.array.rows, config.datapath.patch_pixels, addresses


def _dma_features(config: AcceleratorConfig) -> Sequence[float]:
    array, spilled = config.array, _spilled_rows(config)
    others = array.lanes, array.rows, config.datapath.comparators
    return 1, *others, config.sdram is not None, spilled


def _sequencer_features(config: AcceleratorConfig) -> Sequence[float]:
    return 1, config.sdram is not None


def _constant(config: AcceleratorConfig) -> Sequence[float]:
    return (1,)


def _memory_features(config: AcceleratorConfig) -> Sequence[float]:
    """Activation memory and arbiter, and block RAM as external memory."""
    if config.sdram is not None:
        return 1, config.array.rows, 0, 0
    return 1, config.array.rows, 1, config.memory.external_words / 1024


def _sdram_features(config: AcceleratorConfig) -> Sequence[float]:
    return (config.sdram is not None,)


def _link_features(config: AcceleratorConfig) -> Sequence[float]:
    """With the registers at the pins of an SDRAM."""
    return 1, config.sdram is not None


FEATURES: dict[str, tuple[Features, Features]] = {
    "elements": (_element_ff, _element_ff),
    "drain lanes": (_lane_lut4, _lane_ff),
    "compute": (_compute_lut4, _compute_ff),
    "post": (_post_features, _post_features),
    "fill": (_fill_features, _fill_features),
    "dma": (_dma_features, _dma_features),
    "sequencer": (_sequencer_features, _sequencer_features),
    "control": (_constant, _constant),
    "memories": (_memory_features, _memory_features),
    "host link": (_link_features, _link_features),
    "SDRAM": (_sdram_features, _sdram_features),
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
    "post": ("parameters", "thresholds", "streams", "spilled"),
    "memories": ("activations", "external"),
}
"""Memories of each block that may become distributed RAM."""


def known_lut4(config: AcceleratorConfig, block: str) -> float:
    """LUT4 of a block that are known without a fit."""
    if block == "elements":
        array = config.array
        return _elements(config) * element_lut4(array.lanes, array.count_width)
    memories = memories_of(config)
    return sum(memories[name].lut4 for name in _DISTRIBUTED.get(block, ()))
