"""Instruction fetch and dispatch (``hw/control/fetch.py``, ``hw/control/sequencer.py``)."""

from __future__ import annotations

from hw.control.fetch import BUFFER_WORDS, BURST_WORDS
from hw.control.queue import QUEUE_DEPTH
from hw.isa import INSTRUCTION_WORDS, Engine

from .agenda import Agenda
from .control import Gate
from .instructions import Instruction, fetch_instruction
from .memory_port import MemoryPort

__all__ = ["Fetch"]

CHECK_CYCLES = 3
"""From an instruction's last word to the check."""
QUEUE_CYCLES = 4
"""From an instruction's last word to its offer to a queue."""
PER_BURST = BURST_WORDS // INSTRUCTION_WORDS


class Fetch:
    """Reads instructions ahead and gives them to the gates, in the program's order.

    The buffer holds two bursts. A burst is asked for when there is room for all of it: two cycles
    after the burst before, or after the last word of the burst before that left the buffer.
    """

    def __init__(
        self, agenda: Agenda, port: MemoryPort, memory: bytes, gates: dict[Engine, Gate]
    ) -> None:
        assert BUFFER_WORDS == 2 * BURST_WORDS
        self._agenda = agenda
        self._port = port
        self._memory = memory
        self._gates = [gates[engine] for engine in sorted(gates, key=lambda engine: engine.value)]
        port.fetch = self._chosen
        self.fetched = 0
        """Instructions that were fetched, END included."""
        self.ended_from: int | None = None
        """First cycle in which the end of the program is known."""
        self.idle_from = 0
        """First cycle without a burst after the last one."""
        self._address = 0
        self._arrivals: list[list[int]] = []
        """Cycle of the last word of each instruction of each burst."""
        self._emptied: list[int] = []
        """Cycle in which the last word of each burst left the buffer."""
        self._planned = 1
        """Bursts that were asked for, or whose cycle is known."""
        self._free_from = 0
        self._current: Instruction | None = None
        """The one that waits for room in its queue, or END."""
        self._target: Gate | None = None
        self._blocked = False

    def start(self, address: int) -> None:
        """Cycle 0: fetch from word ``address`` on."""
        self._address = address
        self._free_from = 0
        self._agenda.at(2, self._ask)

    def _ask(self) -> None:
        if self.ended_from is None or self._agenda.now <= self.ended_from:
            self._port.ask_fetch()

    def _chosen(self) -> None:
        address = self._address + BURST_WORDS * len(self._arrivals)
        burst = self._port.read(address, BURST_WORDS)
        words = [burst.take(self._agenda.now) for _ in range(BURST_WORDS)]
        self._arrivals.append(words[INSTRUCTION_WORDS - 1 :: INSTRUCTION_WORDS])
        last = words[-1]
        self._port.end_burst(last)
        self.idle_from = last + 1
        self._plan_burst()
        self._assemble()

    def _plan_burst(self) -> None:
        """Ask for the next burst, if it is known when there is room for it."""
        burst = len(self._arrivals)
        if burst < self._planned:
            return
        seen = self._arrivals[-1][-1] + 1
        if burst >= 2:
            if len(self._emptied) < burst - 1:
                return
            seen = max(seen, self._emptied[burst - 2] + 1)
        self._planned = burst + 1
        self._agenda.at(seen + 1, self._ask)

    def _assemble(self) -> None:
        """Give the instructions that have arrived to their queues, as long as there is room."""
        while self._current is None:
            burst, place = divmod(self.fetched, PER_BURST)
            if burst >= len(self._arrivals):
                return
            arrival = self._arrivals[burst][place]
            last = max(arrival + 1, self._free_from + INSTRUCTION_WORDS - 1)
            instruction = fetch_instruction(
                self._memory, self._address + INSTRUCTION_WORDS * self.fetched
            )
            self.fetched += 1
            if place == PER_BURST - 1:
                self._emptied.append(last)
                self._plan_burst()
            if instruction.engine is None:
                self._current = instruction
                self._agenda.at(last + CHECK_CYCLES, self._end)
                return
            gate = self._gates[instruction.engine]
            if gate.level < QUEUE_DEPTH:
                gate.push(instruction, last + QUEUE_CYCLES)
                self._free_from = last + QUEUE_CYCLES + 1
            else:
                self._current, self._target = instruction, gate
                self._agenda.at(last + QUEUE_CYCLES, self._queue)

    def _end(self) -> None:
        self.ended_from = self._agenda.now + 1

    def _queue(self) -> None:
        gate, instruction = self._target, self._current
        assert gate is not None
        assert instruction is not None
        self._blocked = gate.level >= QUEUE_DEPTH
        if self._blocked:
            if gate.popped:
                self.room(gate)
        else:
            self._current = None
            gate.push(instruction, self._agenda.now)
            self._free_from = self._agenda.now + 1
            self._assemble()

    def room(self, gate: Gate) -> None:
        """The gate's queue has room from the next cycle on."""
        if self._blocked and gate is self._target:
            self._blocked = False
            self._agenda.at(self._agenda.now + 1, self._queue)
