"""Semaphores and the gates before the engines (``hw/control/semaphores.py``, ``gate.py``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from hw.control.gate import IN_FLIGHT
from hw.isa import SEMAPHORE_WIDTH, SEMAPHORES, Engine, Opcode

from .agenda import Agenda
from .instructions import SEMAPHORES_OF, Instruction

__all__ = ["EngineModel", "Gate", "Semaphores", "Wait"]

SIGNAL_CYCLES = 3
"""From a signal to the first decision that sees it."""
NEXT_GRANT_CYCLES = 3
"""From a decision to the next one."""
OFFER_CYCLES = 2
"""From a decision to the command's offer to the engine."""
LARGEST_COUNT = (1 << SEMAPHORE_WIDTH) - 1


class EngineModel(Protocol):
    """What a gate needs of an engine."""

    def offer(self, instruction: Instruction) -> None:
        """The command is offered from this cycle on; ``Gate.accepted`` answers, later or now."""


class Wait:
    """An instruction that waited for its semaphores: from ``first`` to ``last`` cycle."""

    __slots__ = ("first", "instruction", "last", "reason", "signaller")

    def __init__(
        self,
        instruction: Instruction,
        first: int,
        last: int,
        reason: int | None,
        signaller: Instruction | None,
    ) -> None:
        self.instruction = instruction
        self.first = first
        self.last = last
        self.reason = reason
        """The semaphore that became positive last while it waited, if there was any."""
        self.signaller = signaller
        """The instruction that made it positive."""


class Semaphores:
    """The counters, and the grants: at most one in three cycles, the lowest engine first."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._counts = [0] * SEMAPHORES
        self._empty = (1 << SEMAPHORES) - 1
        """Mask of those that are zero."""
        self._changed = [-1] * SEMAPHORES
        """Cycle in which each one last became positive."""
        self._signallers: list[Instruction | None] = [None] * SEMAPHORES
        """What made it positive then."""
        self._requests: list[Gate | None] = [None] * len(Engine)
        self._free_from = 0

    def request(self, gate: Gate) -> None:
        """The gate's instruction wants to start from cycle ``gate.asked_at`` on."""
        self._requests[gate.number] = gate
        if not gate.wait_mask & self._empty:
            self._decide_from(gate.asked_at)

    def signal(self, instruction: Instruction) -> None:
        """The instruction is done in this cycle."""
        instruction.done = self._agenda.now
        if instruction.signal:
            self._agenda.at(self._agenda.now + SIGNAL_CYCLES, self._raise, instruction)

    def _raise(self, instruction: Instruction) -> None:
        counts, mask = self._counts, instruction.signal
        for index in SEMAPHORES_OF[mask]:
            if not counts[index]:
                self._changed[index] = self._agenda.now
                self._signallers[index] = instruction
            counts[index] = min(counts[index] + 1, LARGEST_COUNT)
        self._empty &= ~mask
        self._plan()

    def _plan(self) -> None:
        """Plan the next decision, if there is something to grant."""
        first = None
        for gate in self._requests:
            if gate is not None and not gate.wait_mask & self._empty:
                first = gate.asked_at if first is None else min(first, gate.asked_at)
        if first is not None:
            self._decide_from(first)

    def _decide_from(self, cycle: int) -> None:
        self._agenda.decide_at(max(cycle, self._agenda.now, self._free_from), self._decide)

    def _decide(self) -> None:
        now = self._agenda.now
        if now < self._free_from:
            return
        for index, gate in enumerate(self._requests):
            if gate is not None and gate.asked_at <= now and not gate.wait_mask & self._empty:
                self._requests[index] = None
                self._free_from = now + NEXT_GRANT_CYCLES
                reason = self._take(gate)
                gate.granted(reason, None if reason is None else self._signallers[reason])
                self._plan()
                return

    def _take(self, gate: Gate) -> int | None:
        """Take the semaphores that a gate waits for; returns the one that was last to come."""
        reason, latest = None, gate.asked_at - 1
        for index in SEMAPHORES_OF[gate.wait_mask]:
            if self._changed[index] > latest:
                reason, latest = index, self._changed[index]
            self._counts[index] -= 1
            if not self._counts[index]:
                self._empty |= 1 << index
        return reason


class Gate:
    """The queue and the gate of one engine.

    Parameters
    ----------
    retired
        Called with every instruction in the cycle in which it is complete.
    room
        Called with the gate one cycle before its queue has one place more.
    """

    def __init__(
        self,
        agenda: Agenda,
        semaphores: Semaphores,
        engine: Engine,
        *,
        retired: Callable[[Engine, Instruction], None],
        room: Callable[[Gate], None],
    ) -> None:
        self.engine = engine
        self.number: int = engine.value
        self.wait_mask = 0
        self.asked_at = 0
        self.model: EngineModel
        self.waits: list[Wait] = []
        self._agenda = agenda
        self._semaphores = semaphores
        self._retired = retired
        self._room = room
        self._queue: deque[Instruction] = deque()
        self._popped_at = -1
        self._flight: deque[Instruction] = deque()
        self._idle = True
        self._idle_from = 0
        self._change_seen = 0

    @property
    def level(self) -> int:
        """Instructions that the queue holds in this cycle, as its writer sees it, and those that
        were pushed ahead."""
        return len(self._queue) + self.popped

    @property
    def popped(self) -> bool:
        """An instruction leaves the queue in this cycle; its writer sees that in the next one."""
        return self._popped_at == self._agenda.now

    @property
    def busy(self) -> bool:
        """Something is queued or not done."""
        return bool(self._queue or self._flight)

    def push(self, instruction: Instruction, cycle: int) -> None:
        """The instruction enters the queue in ``cycle``, which may lie ahead: nothing else enters
        before it, and room does not become less."""
        instruction.available = cycle + 1
        self._queue.append(instruction)
        self._consider()

    def _consider(self) -> None:
        """Ask for the semaphores of the oldest instruction as soon as it can be looked at."""
        if not self._idle or not self._queue:
            return
        head = self._queue[0]
        if len(self._flight) >= (1 if head.opcode is Opcode.SYNC else IN_FLIGHT):
            return
        self._idle = False
        self.wait_mask = head.wait
        seen = max(self._idle_from, head.available, self._change_seen)
        self.asked_at = seen + 1
        self._semaphores.request(self)

    def granted(self, reason: int | None, signaller: Instruction | None) -> None:
        """The semaphores decide in this cycle that the instruction may start."""
        now = self._agenda.now
        self.waits.append(Wait(self._queue[0], self.asked_at, now + 1, reason, signaller))
        self._agenda.at(now + OFFER_CYCLES, self._offer)

    def _offer(self) -> None:
        instruction = self._queue[0]
        if instruction.opcode is not Opcode.SYNC:
            self.model.offer(instruction)
            return
        self._pop()
        self._retired(self.engine, instruction)
        self._semaphores.signal(instruction)
        self._consider()

    def accepted(self) -> None:
        """The engine takes the offered command in this cycle."""
        self._flight.append(self._pop())
        self._consider()

    def _pop(self) -> Instruction:
        self._idle = True
        self._idle_from = self._agenda.now + 1
        self._popped_at = self._agenda.now
        self._room(self)
        return self._queue.popleft()

    def done(self) -> None:
        """The oldest command is done in this cycle."""
        instruction = self._flight.popleft()
        self._change_seen = self._agenda.now + 1
        self._retired(self.engine, instruction)
        self._semaphores.signal(instruction)
        self._consider()
