"""The post engine: when vectors are taken and outputs written (``hw/post/sequencer.py``)."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from hw.config import AcceleratorConfig
from hw.isa import Opcode
from hw.post.residual import Residual
from hw.post.stream_store import StreamStore

from .agenda import Agenda
from .control import Gate
from .instructions import Instruction
from .parameters import NEVER, ParameterModel
from .ports import WritePort
from .settings import Settings

__all__ = ["PostModel"]

CONFIG_CYCLES = 2
"""From an accepted POST_CONFIG to ``done``."""
FIRST_VECTOR_CYCLES = 2
"""From an accepted POST to its first vector."""
OFFERED_CYCLES = 2
"""From a vector's write into the empty queue to the cycle that can take it."""
STREAM_CYCLES = Residual.LATENCY + StreamStore.LATENCY
"""From a vector to the end of its stream stage."""


class Feeder(Protocol):
    """What takes note of places in the queue that became free."""

    def advance(self) -> None: ...


class PostModel:
    """Takes vectors from the queue, at the pace of the outputs."""

    def __init__(
        self,
        agenda: Agenda,
        config: AcceleratorConfig,
        gate: Gate,
        writes: WritePort,
        stream_writes: WritePort,
    ) -> None:
        self._agenda = agenda
        self._config = config
        self._gate = gate
        self._writes = writes
        self._stream_writes = stream_writes
        self._has_spill = config.memory.spill_vectors > 0
        self._chain = ParameterModel(config.array.rows)
        self.compute: Feeder
        self.busy_cycles = 0
        self.idle_from = 0
        self._busy_until = -1
        self._settings: Settings | None = None
        self._offered: Instruction | None = None
        self._offered_at = 0
        self._requested_at: int | None = None
        self._accepting = False
        self._finished: int | None = NEVER
        """Last cycle of the POST before; None while one runs."""
        self._vectors: deque[list[int]] = deque()
        """Runs of vectors in consecutive cycles: cycle of the first one's write, number."""
        self.popped: list[int] = []
        """Cycle in which each vector of the run left the queue, as far as known."""
        self._front_popped = False
        """The next vector has left the queue: it is at its output."""
        self._taken = NEVER
        """Cycle in which the last vector was taken from the queue."""
        self._stepped = NEVER
        """Cycle of the last step of the counters: of a vector, or of zeros in its place."""
        self._next_end = 0
        """First cycle that may take a vector which ends a window."""
        self._accepted = 0
        self._tiles_left = 0
        self._tile = 0
        self._place = 0

    @property
    def vectors_left(self) -> int:
        """Vectors that no POST has taken."""
        return sum(run[1] for run in self._vectors)

    def feed(self, cycle: int, vectors: int) -> None:
        """``vectors`` vectors are written to the queue, the first one in ``cycle``."""
        self._vectors.append([cycle, vectors])

    def take(self) -> None:
        """Take what was fed, as far as the command goes."""
        if self._finished is None:
            self._consume()
        else:
            self._pop_front()

    def offer(self, instruction: Instruction) -> None:
        self._offered = instruction
        self._offered_at = self._agenda.now
        self._requested_at = None
        self._plan()

    def _plan(self) -> None:
        """Request parameters for the offered command, and accept it, when both are known."""
        command = self._offered
        if command is None or self._accepting:
            return
        earliest = self._offered_at
        if command.opcode is Opcode.POST:
            if self._requested_at is None:
                ready = self._chain.ready_from
                if ready is None:
                    return
                self._requested_at = max(self._offered_at, ready)
                self._chain.request(self._requested_at, command["tiles"])
            earliest = self._requested_at + 1
        if self._finished is not None:
            self._accepting = True
            self._agenda.at(max(earliest, self._finished + 1), self._accept)

    def _accept(self) -> None:
        command = self._offered
        assert command is not None
        self._offered = None
        self._accepting = False
        now = self._agenda.now
        if command.opcode is Opcode.POST_CONFIG:
            self._settings = Settings(command, self._config)
            self._gate.accepted()
            self._be_busy(self._offered_at, now)
            self._agenda.at(now + CONFIG_CYCLES, self._gate.done)
            self.idle_from = max(self.idle_from, now + CONFIG_CYCLES)
            return
        self._accepted = now
        self._be_busy(self._offered_at, now)
        self._finished = None
        self._tiles_left = command["tiles"]
        self._tile = command["vectors"]
        self._place = 0
        self._gate.accepted()
        self._consume()
        self.compute.advance()

    def _be_busy(self, first: int, last: int) -> None:
        self.busy_cycles += max(0, last - max(first, self._busy_until + 1) + 1)
        self._busy_until = max(self._busy_until, last)

    def _pop_front(self) -> None:
        if self._vectors and not self._front_popped:
            self.popped.append(max(self._vectors[0][0] + 1, self._taken))
            self._front_popped = True

    def _consume(self) -> None:
        """Take vectors until the command ends or nothing is known of the next one."""
        settings = self._settings
        assert settings is not None
        if settings.array and settings.pace == 1 and not settings.summing:
            step = self._take_runs
        else:
            step = self._take_paced
        while self._tiles_left:
            if self._place == 0 and not self._chain.available:
                break
            if not step(settings):
                break
            if self._place == self._tile:
                self._place = 0
                self._tiles_left -= 1
        self._pop_front()
        if not self._tiles_left:
            self._finish(settings)

    def _earliest(self) -> int:
        """First cycle for the next vector, as far as the command and its parameters go."""
        if self._place:
            return self._stepped + 1
        accepted = self._accepted + FIRST_VECTOR_CYCLES
        return max(self._stepped + 1, accepted, self._chain.available[0])

    def _take_runs(self, settings: Settings) -> bool:
        """Take vectors that need no pacing, up to the end of the tile."""
        vectors, popped = self._vectors, self.popped
        if not vectors:
            return False
        earliest = self._earliest()
        place, taken = self._place, self._taken
        while vectors and place < self._tile:
            run = vectors[0]
            first, waiting = run
            if self._front_popped:
                self._front_popped = False
            else:
                popped.append(max(first + 1, taken))
            cycle = first + OFFERED_CYCLES
            if cycle < earliest:
                cycle = earliest
            count = self._tile - place
            if count < waiting:
                run[0] += count
                run[1] -= count
            else:
                count = waiting
                vectors.popleft()
            earliest = cycle + count
            taken = earliest - 1
            popped.extend(range(cycle, taken))
            if place == 0:
                self._chain.available.popleft()
                self._release(cycle + settings.to_pool)
            if settings.writes:
                self._write_run(settings, cycle, place, count)
            if settings.stores and self._has_spill:
                self._stream_writes.use(cycle + STREAM_CYCLES, count)
            place += count
        self._place = place
        self._taken = self._stepped = taken
        self._next_end = earliest
        return True

    def _write_run(self, settings: Settings, cycle: int, place: int, count: int) -> None:
        """Note the writes of the vectors from ``place`` on, the first of which is taken at
        ``cycle``."""
        write = cycle + settings.first_write
        if settings.window == 1:
            self._writes.use(write, count)
            return
        for index in range(place, place + count):
            if self._ends_window(settings, index):
                self._writes.use(write + index - place, settings.writes)

    def _ends_window(self, settings: Settings, place: int) -> bool:
        return (place + 1) % settings.window == 0 or place + 1 == self._tile

    def _take_paced(self, settings: Settings) -> bool:
        """Take vectors one by one, up to the end of the tile."""
        window, summing, vectors = settings.window, settings.summing, self._vectors
        place, tile, stepped, next_end = self._place, self._tile, self._stepped, self._next_end
        begin = place
        while place < tile:
            inside = place % window
            needs = settings.array and (not inside or not summing)
            if needs and not vectors:
                break
            cycle = stepped + 1 if place else self._earliest()
            place += 1
            ends = inside == window - 1 or place == tile
            if ends and cycle < next_end:
                cycle = next_end
            if needs:
                run = vectors[0]
                if cycle < run[0] + OFFERED_CYCLES:
                    cycle = run[0] + OFFERED_CYCLES
                self._pop_front()
                self._front_popped = False
                self._taken = cycle
                run[0] += 1
                run[1] -= 1
                if not run[1]:
                    vectors.popleft()
            if ends:
                next_end = cycle + settings.pace
                if settings.writes:
                    self._writes.use(cycle + settings.first_write, settings.writes)
            if place == 1:
                self._chain.available.popleft()
            if settings.stores and self._has_spill and (ends or not summing):
                self._stream_writes.use(cycle + STREAM_CYCLES, 1)
            # In mode SUM a window passes the pool when its last vector comes.
            if (place <= window and ends) if summing else place == 1:
                self._release(cycle + settings.to_pool)
            stepped = cycle
        self._place, self._stepped, self._next_end = place, stepped, next_end
        return place > begin

    def _release(self, cycle: int) -> None:
        """The pool is the last block that copies the parameters of a tile."""
        self._chain.release(cycle)
        self._plan()

    def _finish(self, settings: Settings) -> None:
        last = self._stepped + max(STREAM_CYCLES, settings.last_write)
        finished = max(last + 1, self._accepted + FIRST_VECTOR_CYCLES)
        self._finished = finished
        self._be_busy(self._accepted, finished)
        self.idle_from = finished + 1
        self._agenda.at(finished + 1, self._gate.done)
        self._plan()
