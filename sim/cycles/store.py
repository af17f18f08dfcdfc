"""Stores of activations (``hw/memory/store.py``): a word is read while the one before is sent."""

from __future__ import annotations

from collections.abc import Callable

from .agenda import Agenda
from .memory_port import MemoryPort
from .ports import ReadPort

__all__ = ["ActivationStoreModel"]


class ActivationStoreModel:
    """Reads activation words and sends external words, cycle by cycle.

    Parameters
    ----------
    reads
        The FILL engine's use of the read port.
    items
        Activation words of an external word.
    parts
        External words of an activation word.
    finished
        Called with the cycle in which the last word moves.
    """

    def __init__(
        self,
        agenda: Agenda,
        port: MemoryPort,
        reads: ReadPort,
        *,
        items: int,
        parts: int,
        finished: Callable[[int], None],
    ) -> None:
        self._agenda = agenda
        self._port = port
        self._reads = reads
        self._items = items
        self._parts = parts
        self._finished = finished
        # The registers of the component, as they are in the present cycle.
        self._left = self._item = self._part = 0
        self._is_fetching = self._is_assembled = self._is_valid = False
        self._taken_at: int | None = None
        """When the word that is offered is taken, if a burst is open for it."""
        self._burst_left = self._moves_from = 0
        self._is_waiting = False
        """Nothing happens until a burst is granted."""

    def begin(self, cycle: int, entries: int) -> None:
        """So many activation words are read from ``cycle`` on."""
        self._left, self._item, self._part = entries, 0, 0
        self._burst_left, self._is_waiting = 0, False
        self._agenda.at(cycle, self._step)

    def granted(self, moves_from: int, words: int) -> None:
        """A burst is open for so many words."""
        self._moves_from, self._burst_left = moves_from, words
        if self._is_waiting:
            self._is_waiting = False
            self._agenda.at(moves_from, self._step)

    def _step(self) -> None:
        now = self._agenda.now
        if self._is_valid and self._taken_at is None and self._is_open(now):
            self._offer()
        is_taken = self._taken_at == now
        is_empty = is_taken and self._part == self._parts - 1
        if is_empty and not (self._left or self._is_fetching or self._is_assembled):
            self._is_valid, self._taken_at = False, None
            self._finished(now)
            return
        may_read = not (self._is_fetching or (self._is_assembled and self._is_valid))
        reads = self._left > 0 and may_read and not self._reads.is_used(now)
        moves = self._is_assembled and (is_empty or not self._is_valid)
        if is_taken:
            self._taken_at = None
            self._part = 0 if is_empty else self._part + 1
        if moves:
            self._is_assembled, self._item = False, 0
        if self._is_fetching:
            self._item += 1
            self._is_assembled = self._item == self._items or not self._left
        self._is_valid = moves or (self._is_valid and not is_empty)
        self._is_fetching = reads
        self._left -= reads
        self._plan(now + 1)

    def _is_open(self, cycle: int) -> bool:
        return self._burst_left > 0 and cycle >= self._moves_from

    def _offer(self) -> None:
        self._taken_at = self._port.write_word()
        self._burst_left -= 1
        if not self._burst_left:
            self._port.end_burst(self._taken_at)

    def _plan(self, cycle: int) -> None:
        """The next step is in ``cycle``, or later if nothing happens before."""
        if self._is_valid and self._is_assembled:
            if self._taken_at is not None:
                cycle = self._taken_at
            elif self._burst_left:
                cycle = max(cycle, self._moves_from)
            else:
                self._is_waiting = True
                return
        self._agenda.at(cycle, self._step)
