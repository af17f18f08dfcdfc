"""Energy per image from counts of events: to compare candidates, not what a board would draw.

Every word in the array, every pass of the drain and every word that FILL, POST and DMA move costs
what its parts cost in a 45 nm chip at 0.9 V, after M. Horowitz, "Computing's energy problem (and
what we can do about it)", ISSCC 2014, figure 1.1.9: additions 0.03 pJ (8 bits), 0.1 pJ (32 bits),
multiplications 0.2 pJ (8 x 8) and 3.1 pJ (32 x 32), 10 pJ for 64 bits of a memory of 8 kB, 1.3 to
2.6 nJ for 64 bits of DRAM, of which the lower figure is taken: it is of another kind of DRAM than
the board's, and refreshes are not counted. An FPGA takes several times as much; its clock tree, its
wires between the blocks and its leakage are not counted, so nothing but the relation of two
candidates means something.
"""

from __future__ import annotations

from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

from .evaluation import Outcome

__all__ = ["image_energy_uj"]

LANE_PJ = 0.03 / 8
"""An AND and a full adder: a bit of an 8-bit addition."""
ADD_32_PJ = 0.1
MULTIPLY_18_PJ = 3.1 * (18 / 32) ** 2
"""The array of a multiplier grows with the square of its width."""
MEMORY_BIT_PJ = 10 / 64
DRAM_BIT_PJ = 1300 / 64


def image_energy_uj(config: AcceleratorConfig, outcome: Outcome) -> float:
    """Microjoules per image of an outcome that has cycles."""
    array = config.array
    elements = array.rows * array.columns
    word = (
        elements * array.lanes * LANE_PJ
        + (array.rows + array.columns) * array.lanes * MEMORY_BIT_PJ  # weights, activations
    )
    drained = elements * (MULTIPLY_18_PJ + ADD_32_PJ)
    # One word of the activation memory is read and written to the buffers of all columns.
    filled = array.word_width * (1 + array.columns * -(-array.granules // 2)) * MEMORY_BIT_PJ
    vector = array.rows * (
        MULTIPLY_18_PJ + 3 * ADD_32_PJ + config.datapath.stream_width * MEMORY_BIT_PJ
    )
    outside = MEMORY_BIT_PJ if config.sdram is None else DRAM_BIT_PJ
    counters = outcome.counters
    picojoules = (
        counters["array_busy"] * word
        + outcome.passes * drained
        + counters["fill_busy"] * filled
        + outcome.vectors * vector
        + outcome.dma_words * WORD * MEMORY_BIT_PJ  # on chip
        + outcome.port_words * WORD * outside
    )
    return picojoules / 1e6 / outcome.images
