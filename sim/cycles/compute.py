"""The compute engine: when words enter the array (``hw/compute/sequencer.py``, ``passes.py``)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hw.compute.passes import PassLookup
from hw.compute.timing import ComputeTiming
from hw.config import AcceleratorConfig

from .agenda import Agenda
from .control import Gate
from .instructions import Instruction
from .post import PostModel

__all__ = ["Command", "ComputeModel", "Strip"]

LOOKUP_CYCLES = 1 + PassLookup.latency
"""From an accepted command to the cycle in which the sequencer can take its first pass."""
RELEASE_CYCLES = 2
"""From the first word of the last pass of a command to the cycle that can take the next one."""
POPPED_CYCLES = 2
"""From a vector that leaves the queue to the first word that may use its place."""
BUSY_CYCLES = 1
"""From a word's issue to ``array_busy``."""


class Strip(NamedTuple):
    """When the words of a strip are issued. The cycles before its last word that are not those of
    its other words are waits: for the drain up to ``apart``, then for the post engine.
    """

    early: int
    """The cycle after the strip before, or the first one in which the passes are there."""
    first: int
    """Cycle of its first word, if the queue of vectors has room."""
    apart: int
    """First cycle in which the drain lets its last word pass."""
    end: int
    """Cycle of its last word."""


class Command:
    """A command in hand: its passes, and how far it is."""

    __slots__ = (
        "first_length",
        "instruction",
        "is_partial",
        "is_single",
        "issued",
        "last_cycles",
        "last_length",
        "last_pixels",
        "lengths",
        "loaded",
        "middle",
        "strip_words",
        "strips_left",
        "strips_of_tile",
        "strips_per_tile",
        "wait_drain",
        "wait_post",
        "words",
    )

    def __init__(
        self, instruction: Instruction, lengths: list[int], columns: int, period: int, loaded: int
    ) -> None:
        self.instruction = instruction
        self.loaded = loaded
        """Earliest cycle in which the sequencer takes the first pass."""
        self.lengths = lengths
        """Words of its passes."""
        self.first_length = lengths[0]
        self.last_length = lengths[-1]
        self.last_cycles = max(lengths[-1], period)
        """Cycles of the last pass after another one."""
        self.middle = sum(max(length, period) for length in lengths[1:-1])
        """Cycles of the passes between the first and the last one."""
        self.is_partial = bool(instruction["partial"])
        """Its sums stay for the next command."""
        self.is_single = len(lengths) == 1
        """The last pass is the first one."""
        strips, beyond = divmod(instruction["pixels"] - 1, columns)
        self.last_pixels = beyond + 1
        self.strips_per_tile = self.strips_of_tile = strips + 1
        self.strips_left = self.strips_per_tile * instruction["tiles"]
        self.issued: list[tuple[int, int, int, int]] = []
        """The fields of ``strips``, which are slow to make."""
        self.strip_words = sum(lengths)
        self.words = self.strip_words * self.strips_left
        self.wait_drain = self.wait_post = 0

    @property
    def strips(self) -> list[Strip]:
        """Those that are issued, in order."""
        return [Strip(*fields) for fields in self.issued]


class ComputeModel:
    """Issues strips of pixels. A strip's last word waits for room in the queue of vectors.

    Parameters
    ----------
    lengths
        Words of each entry of the pass table.
    """

    def __init__(
        self,
        agenda: Agenda,
        config: AcceleratorConfig,
        gate: Gate,
        post: PostModel,
        lengths: list[int],
    ) -> None:
        self._agenda = agenda
        self._gate = gate
        self._post = post
        self._lengths = lengths
        array = config.array
        self._columns = array.columns
        self._period = array.drain_period
        timing = ComputeTiming(array)
        self._depth = timing.queue_depth
        self._write_delay = BUSY_CYCLES + timing.vector_delay
        self._done_delay = BUSY_CYCLES + timing.done_latency
        self._flight = BUSY_CYCLES + timing.flight_cycles
        post.compute = self
        self.commands: list[Command] = []
        """All commands of the run."""
        self.busy: list[tuple[int, int]] = []
        """Intervals in which the engine was busy, first and last cycle."""
        self._pending: deque[Command] = deque()
        self._offered: Instruction | None = None
        self._free_from: int | None = 0
        self._started = self._ended = -(1 << 40)
        """Cycles of the first and the last word of the strip before."""
        self._finished = -(1 << 40)
        """Cycle of the last word of the last strip whose sums have left."""
        self._reserved = 0
        self._blocked: tuple[int, int, int] | None = None
        """What is known of a strip whose last word waits for room."""

    @property
    def pending(self) -> bool:
        """A command has not been issued to its end."""
        return bool(self._pending)

    def offer(self, instruction: Instruction) -> None:
        self._offered = instruction
        if self._free_from is not None:
            self._agenda.at(max(self._agenda.now, self._free_from), self._accept)

    def _accept(self) -> None:
        instruction = self._offered
        assert instruction is not None
        self._offered = None
        self._free_from = None
        now = self._agenda.now
        self._gate.accepted()
        first, count = instruction["pass_first"], instruction["passes"]
        entries = len(self._lengths)
        lengths = [self._lengths[entry % entries] for entry in range(first, first + count)]
        command = Command(instruction, lengths, self._columns, self._period, now + LOOKUP_CYCLES)
        if not self._pending and (not self.busy or self.busy[-1][1] < now):
            self.busy.append((now + 1, now + 1))
        self.commands.append(command)
        self._pending.append(command)
        self.advance()

    def _release(self, first_word: int) -> None:
        """The first word of a command's last pass is known."""
        self._free_from = first_word + RELEASE_CYCLES
        if self._offered is not None:
            self._agenda.at(max(self._agenda.now, self._free_from), self._accept)

    def advance(self) -> None:
        """Issue strips, until one waits for room of which nothing is known yet."""
        while self._pending:
            command = self._pending[0]
            issued = len(command.issued)
            complete = self._issue(command)
            if len(command.issued) > issued:
                self.busy[-1] = (self.busy[-1][0], self._ended + self._flight)
            if not complete:
                return
            self._pending.popleft()
            self._agenda.at(self._ended + self._done_delay, self._gate.done)
        self._post.take()

    def _issue(self, command: Command) -> bool:
        """Issue a command's strips; returns whether all are complete."""
        post, issued, popped = self._post, command.issued, self._post.popped
        columns, words = self._columns, command.strip_words
        spare = self._depth - columns
        while command.strips_left:
            early, first, apart = self._blocked or self._begin(command)
            end = apart
            needed = 0 if command.is_partial else self._reserved - spare
            if needed > 0:
                if len(popped) < needed:
                    post.take()
                    if len(popped) < needed:
                        self._blocked = (early, first, apart)
                        return False
                end = max(end, popped[needed - 1] + POPPED_CYCLES)
            self._blocked = None
            self._ended = end
            self._started = end if words == 1 else first
            issued.append((early, first, apart, end))
            command.wait_drain += apart - early + 1 - words
            command.wait_post += end - apart
            command.strips_left -= 1
            command.strips_of_tile -= 1
            if command.is_partial:
                continue
            self._finished = end
            vectors = columns
            if not command.strips_of_tile:
                command.strips_of_tile = command.strips_per_tile
                vectors = command.last_pixels
            self._reserved += vectors
            post.feed(end + self._write_delay, vectors)
        if command.last_length == 1:
            self._release(self._ended)
        return True

    def _begin(self, command: Command) -> tuple[int, int, int]:
        """All words of a strip but the last one; returns the cycles of :class:`Strip` but the
        last one.

        First words of strips are ``columns`` cycles apart, so are last words, and last words of
        passes are a drain period apart.
        """
        ended = self._ended
        early = max(ended, command.loaded) + 1
        first = last_first = max(early, self._started + self._columns)
        last_word = first + command.last_length - 1
        if not command.is_single:
            passed = max(first + command.first_length - 1, ended + self._period) + command.middle
            last_first = passed + 1
            last_word = passed + command.last_cycles
        apart = last_word
        if not command.is_partial:
            apart = max(last_word, self._finished + self._columns)
        if command.strips_left == 1 and command.last_length > 1:
            self._release(last_first)
        return early, apart if command.strip_words == 1 else first, apart
