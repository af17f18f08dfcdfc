"""Latencies of the compute engine: what the engine is wired by, and the cycle model counts with."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.utils import ceil_log2

from ..config import ArrayConfig
from .column import ColumnBuffers
from .drain import Drain
from .popcount import popcount_latency
from .processing_element import ACCUMULATOR_LATENCY
from .tables import WindowTable
from .vector_queue import VectorQueue

__all__ = ["ComputeTiming"]


@dataclass(frozen=True)
class ComputeTiming:
    """Latencies in cycles, all sums of the latencies of the blocks.

    ``array_busy`` is the cycle in which a word leaves the sequencer; the words of a command follow
    ``command_latency`` cycles after the command was taken at the earliest.
    """

    array: ArrayConfig

    command_latency = 6
    """From an accepted command to its first word (``array_busy``)."""

    @property
    def operand_delay(self) -> int:
        """From ``array_busy`` to the activations of the word at column 0."""
        return WindowTable.latency + ColumnBuffers.latency

    @property
    def count_delay(self) -> int:
        """From ``array_busy`` with the last word of a pass to the counts of column 0."""
        return self.operand_delay + popcount_latency(self.array.lanes) + ACCUMULATOR_LATENCY

    @property
    def vector_delay(self) -> int:
        """From ``array_busy`` with the last word of a strip to the vector of column 0."""
        return self.count_delay + Drain.latency

    @property
    def vector_latency(self) -> int:
        """From ``array_busy`` with the last word of a strip to the offer of a vector."""
        return self.vector_delay + VectorQueue.latency

    @property
    def done_latency(self) -> int:
        """From ``array_busy`` with the last word of a command to ``done``."""
        return WindowTable.latency + self.array.columns

    @property
    def flight_cycles(self) -> int:
        """From ``array_busy`` with a word until all vectors that it may end are in the queue."""
        return self.vector_delay + self.array.columns

    @property
    def queue_depth(self) -> int:
        """Vectors in the queue and on their way to it, so many that strips that are as short as
        possible do not wait: a strip reserves its places when its last word is issued."""
        return 1 << ceil_log2(self.vector_latency + 1 + self.array.columns)
