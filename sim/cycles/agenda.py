"""The order of events: what happens in which cycle of a run."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

__all__ = ["Agenda"]

Action = Callable[..., None]


class Agenda:
    """Runs actions in the order of their cycles.

    Within a cycle all events come before the decisions, as an arbiter decides with what is
    asserted in the same cycle. Apart from that the order does not matter: everything that one
    block tells another is seen a cycle later.
    """

    def __init__(self) -> None:
        self.now = 0
        """The cycle that is being worked on."""
        self._heap: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._count = 0

    def at(self, cycle: int, action: Action, *arguments: Any) -> None:
        """Call ``action(*arguments)`` in ``cycle``, which must not be over."""
        self._count += 1
        heappush(self._heap, (cycle << 1, self._count, action, arguments))

    def decide_at(self, cycle: int, action: Action) -> None:
        """Call ``action()`` at the end of ``cycle``."""
        self._count += 1
        heappush(self._heap, (cycle << 1 | 1, self._count, action, ()))

    def run(self) -> None:
        """Until nothing is left to do."""
        heap = self._heap
        while heap:
            key, _, action, arguments = heappop(heap)
            self.now = key >> 1
            action(*arguments)
