"""The FILL engine (``hw/memory/fill.py``, ``walker.py``, ``patch.py``)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from hw.config import AcceleratorConfig
from hw.memory.fill import PIXEL_BITS, PIXEL_QUEUE
from hw.memory.patch import PAIRS

from .agenda import Agenda
from .control import Gate
from .instructions import Instruction

__all__ = ["FillModel", "Rectangle", "image_walk"]

STEP_CYCLES = 6
"""From an accepted command to the first step of the walk."""
READ_CYCLES = 1
"""From a step to its read."""
WORD_CYCLES = 3
"""From a step to its word."""
SETTLE_CYCLES = 2
"""From the last word to the first cycle in which the columns settle."""
EMPTY_CYCLES = 5
"""From an accepted command without words to the first cycle in which the columns settle."""
PATCH_CYCLES = 2
"""From the end of a patch in the patch former to its last word."""


class Rectangle(NamedTuple):
    """What is walked: interior positions and a margin."""

    top: int
    rows: int
    bottom: int
    left: int
    words: int
    right: int

    @property
    def width(self) -> int:
        return self.left + self.words + self.right

    @property
    def positions(self) -> int:
        return (self.top + self.rows + self.bottom) * self.width

    def is_interior(self, position: int) -> bool:
        y, x = divmod(position, self.width)
        return self.top <= y < self.top + self.rows and self.left <= x < self.left + self.words


class ImageWalk(NamedTuple):
    """A command in image mode, in cycles from the first step on."""

    last_word: int
    """Cycle that counts as that of the last word."""
    reads: frozenset[int]
    """Steps that read the activation memory."""


@lru_cache(maxsize=256)
def image_walk(
    shape: Rectangle, kernel: int, stride: int, granules: int, pixel_words: int
) -> ImageWalk:
    """Steps, pixels and patches of a command in image mode.

    A pixel is asked for while fewer than ``PIXEL_QUEUE`` are under way; a patch takes one cycle
    for each of its words, and the pixel after it is taken in the last one.
    """
    taken: list[int] = []
    reads = []
    step = 0
    ready = 0
    ends = 0
    patch = PAIRS * granules
    until = 0
    for position in range(shape.positions):
        if position >= PIXEL_QUEUE:
            step = max(step, taken[position - PIXEL_QUEUE] + 1)
        interior = shape.is_interior(position)
        last_step = step + (pixel_words - 1 if interior else 0)
        if interior:
            reads.extend(range(step, last_step + 1))
        take = max(ready, last_step + WORD_CYCLES + 1)
        taken.append(take)
        step = last_step + 1
        if position % shape.width == 0:
            until = kernel - 1
        fires = until == 0 and granules > 0
        until = stride - 1 if until == 0 else until - 1
        ready = take + (patch if fires else 1)
        ends = ready
    return ImageWalk(ends + PATCH_CYCLES, frozenset(reads))


class FillModel:
    """One command at a time; nothing stalls it."""

    def __init__(self, agenda: Agenda, config: AcceleratorConfig, gate: Gate) -> None:
        self._agenda = agenda
        self._gate = gate
        self._column_delay = config.array.columns + 2
        self._pixel_words = max(1, PIXEL_BITS // config.array.word_width)
        self.busy_cycles = 0
        self.idle_from = 0
        self._offered: Instruction | None = None
        self._running = False
        self._accepted = 0
        self._shape = Rectangle(0, 0, 0, 0, 0, 0)
        self._image: ImageWalk | None = None

    def offer(self, instruction: Instruction) -> None:
        self._offered = instruction
        if not self._running:
            self._agenda.at(max(self._agenda.now, self.idle_from), self._accept)

    def _accept(self) -> None:
        command = self._offered
        assert command is not None
        self._offered = None
        self._running = True
        now = self._accepted = self._agenda.now
        self._gate.accepted()
        names = ("top", "rows", "bottom", "left", "words", "right")
        shape = self._shape = Rectangle(*(command[name] for name in names))
        self._image = None
        if not shape.positions:
            settle = now + EMPTY_CYCLES
        elif command["image"]:
            self._image = image_walk(
                shape, command["kernel"], command["stride"], command["granules"], self._pixel_words
            )
            settle = now + STEP_CYCLES + self._image.last_word + SETTLE_CYCLES
        else:
            last = now + STEP_CYCLES + shape.positions - 1 + WORD_CYCLES
            settle = last + SETTLE_CYCLES
        done = settle + self._column_delay - 1
        self.busy_cycles += done - now
        self._agenda.at(done, self._done)

    def _done(self) -> None:
        self._running = False
        self.idle_from = self._agenda.now + 1
        self._gate.done()
        if self._offered is not None:
            self._agenda.at(self.idle_from, self._accept)

    def is_used(self, cycle: int) -> bool:
        """A word of the activation memory is read in ``cycle``, the present one."""
        if not self._running:
            return False
        step = cycle - self._accepted - STEP_CYCLES - READ_CYCLES
        if self._image is not None:
            return step in self._image.reads
        return 0 <= step < self._shape.positions and self._shape.is_interior(step)
