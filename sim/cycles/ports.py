"""Use of memory ports that the DMA engine shares with FILL and POST."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from hw.post.affine import Affine
from hw.post.pack import Pack
from hw.post.pool import Pool
from hw.post.residual import Residual
from hw.post.stream_store import StreamStore

__all__ = ["CODE_LOOKAHEAD", "STREAM_LOOKAHEAD", "ReadPort", "WritePort"]


class ReadPort(Protocol):
    """The read port, which the FILL engine has first."""

    def is_used(self, cycle: int) -> bool:
        """The FILL engine reads in ``cycle``, which is the present one."""


CODE_LOOKAHEAD = Residual.LATENCY + Affine.DIRECT_LATENCY + Pool.LATENCY + 1 + Pack.LATENCY
STREAM_LOOKAHEAD = Residual.LATENCY + StreamStore.LATENCY
"""Cycles from a vector to its first write into the activation or the stream memory at least."""


class WritePort:
    """The cycles in which the post engine writes, in order; known ``lookahead`` cycles ahead."""

    def __init__(self, lookahead: int) -> None:
        self.lookahead = lookahead
        self._firsts: deque[int] = deque()
        self._ends: deque[int] = deque()
        """First cycle of each run of writes, and the first one after it."""

    def use(self, first: int, cycles: int) -> None:
        """The post engine writes in ``cycles`` cycles from ``first`` on."""
        if self._ends and self._ends[-1] == first:
            self._ends[-1] = first + cycles
        else:
            self._firsts.append(first)
            self._ends.append(first + cycles)

    def next_free(self, cycle: int) -> int:
        """The first cycle from ``cycle`` on without a write; calls must not go back in time."""
        firsts, ends = self._firsts, self._ends
        while ends and ends[0] <= cycle:
            firsts.popleft()
            ends.popleft()
        if firsts and firsts[0] <= cycle:
            return ends[0]
        return cycle
