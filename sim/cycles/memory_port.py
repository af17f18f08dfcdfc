"""The external memory and its arbiter (``hw/memory/arbiter.py``, ``hw/memory/external.py``)."""

from __future__ import annotations

from collections.abc import Callable

from .agenda import Agenda

__all__ = ["FIRST_WORD_CYCLES", "GRANT_CYCLES", "MemoryPort"]

GRANT_CYCLES = 2
"""From the arbiter's choice to the cycle in which a word may move."""
FIRST_WORD_CYCLES = 5
"""From the arbiter's choice to the first word that is read, besides the memory's latency."""


class MemoryPort:
    """Grants bursts, fetch before DMA. The burst's owner says when its last word has moved.

    Parameters
    ----------
    latency
        Of the external memory, see :class:`hw.memory.external.BlockExternalMemory`.
    """

    def __init__(self, agenda: Agenda, latency: int) -> None:
        self._agenda = agenda
        self.first_word_cycles = FIRST_WORD_CYCLES + latency
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
