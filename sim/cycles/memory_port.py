"""The external memory and its arbiter (``hw/memory/arbiter.py``, ``external.py``, ``sdram.py``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hw.memory.sdram import QUEUE_WORDS

from .agenda import Agenda
from .sdram import SdramTimeline

__all__ = ["FIRST_WORD_CYCLES", "MemoryPort", "ReadBurst"]

REQUEST_CYCLES = 1
"""From the arbiter's choice to the request at the memory."""
FIRST_WORD_CYCLES = 5
"""From the arbiter's choice to the first word that is read, besides the memory's latency."""


class ReadBurst:
    """The words of a burst that is read, in order.

    Parameters
    ----------
    first
        Cycle of the first word, from block RAM, which gives one per cycle.
    sdram
        What gives the words instead: it waits when its queue is full.
    """

    def __init__(self, first: int, sdram: SdramTimeline | None) -> None:
        self._next = first
        self._sdram = sdram
        self._waiting: deque[int] = deque()
        """Cycles in which the words that fill the queue were taken."""

    def take(self, ready: int) -> int:
        """The cycle in which the next word moves to a reader that takes it from ``ready`` on."""
        if self._sdram is None:
            cycle = max(self._next, ready)
            self._next += 1
            return cycle
        if len(self._waiting) < QUEUE_WORDS:
            cycle = max(self._sdram.read(), ready)
        else:
            cycle = max(self._sdram.read(self._waiting.popleft() + 1), ready)
        self._waiting.append(cycle)
        return cycle


class MemoryPort:
    """Grants bursts, fetch before DMA. The burst's owner says when its last word has moved.

    Parameters
    ----------
    latency
        Of external memory in block RAM, see :class:`hw.memory.external.BlockExternalMemory`.
    sdram
        What the external memory is instead.
    """

    def __init__(self, agenda: Agenda, latency: int, sdram: SdramTimeline | None = None) -> None:
        self._agenda = agenda
        self._sdram = sdram
        self._first_word_cycles = FIRST_WORD_CYCLES + latency
        self.fetch: Callable[[], None] = _unconnected
        """Called in the cycle in which a burst of the instruction fetch is chosen."""
        self.dma: Callable[[], None] = _unconnected
        self._fetch_asks = False
        self._dma_asks = False
        self._busy = False
        self._free_from = 0

    def ask_fetch(self) -> None:
        """The fetch asks for a burst from this cycle on."""
        self._fetch_asks = True
        self._plan()

    def ask_dma(self) -> None:
        """The DMA engine asks for a burst from this cycle on."""
        self._dma_asks = True
        self._plan()

    def read(self, address: int, length: int) -> ReadBurst:
        """The words of a burst that is chosen now."""
        now = self._agenda.now
        if self._sdram is not None:
            self._sdram.begin(now + REQUEST_CYCLES, address, length)
        return ReadBurst(now + self._first_word_cycles, self._sdram)

    def write(self, address: int, length: int) -> int:
        """The first cycle in which a burst that is chosen now may move a word."""
        request = self._agenda.now + REQUEST_CYCLES
        if self._sdram is not None:
            request = self._sdram.begin(request, address, length)
        return request + 1

    def write_word(self) -> int:
        """The cycle in which the word that is offered now, and from now on, is taken."""
        now = self._agenda.now
        return now if self._sdram is None else self._sdram.write(now)

    def end_burst(self, cycle: int) -> None:
        """The last word of the burst moves in ``cycle``."""
        self._busy = False
        self._free_from = cycle + 1
        if self._fetch_asks or self._dma_asks:
            self._plan()

    def _plan(self) -> None:
        if not self._busy:
            self._agenda.decide_at(max(self._agenda.now, self._free_from), self._choose)

    def _choose(self) -> None:
        if self._busy or self._agenda.now < self._free_from:
            return
        if self._fetch_asks:
            self._fetch_asks = False
            self._busy = True
            self.fetch()
        elif self._dma_asks:
            self._dma_asks = False
            self._busy = True
            self.dma()


def _unconnected() -> None:
    raise AssertionError("memory port must be connected")
