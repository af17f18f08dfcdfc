"""The post engine's parameters: when the next tile's are there (``hw/post/parameters.py``)."""

from __future__ import annotations

from collections import deque

from hw.post.parameters import WORDS_PER_ROW

__all__ = ["NEVER", "ParameterModel"]

NEVER = -(1 << 40)
"""A cycle long before the first one."""


class ParameterModel:
    """The chain that holds the parameters of the next tile."""

    def __init__(self, rows: int) -> None:
        self._words = WORDS_PER_ROW * rows
        self._tiles = 0
        self._requested = NEVER
        self._released: int | None = NEVER
        """Cycle of the last release; None while the chain is held."""
        self._readable = 0
        self.available: deque[int] = deque()
        """Cycles in which the next tiles' parameters are there, as far as known."""

    @property
    def ready_from(self) -> int | None:
        """First cycle that can take a request; None if that is not known yet."""
        return None if self._tiles else self._readable

    def request(self, cycle: int, tiles: int) -> None:
        self._requested = cycle
        self._tiles = tiles
        self._begin()

    def release(self, cycle: int) -> None:
        self._released = cycle
        self._begin()

    def _begin(self) -> None:
        if self._tiles and self._released is not None:
            begin = max(self._requested, self._released) + 1
            self._released = None
            self._tiles -= 1
            self._readable = begin + self._words + 1
            self.available.append(begin + self._words + 2)
