"""The cycle model: what a program's run takes, cycle for cycle as in the RTL, without the RTL.

Event by event: bursts of the memory, instructions, commands, strips of pixels and, where outputs
are slow, vectors. Nothing is done per cycle, no data are computed. Everything that decides when
something happens is in the program, so one evaluation holds for all images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compiler.program import Program
from hw.config import AcceleratorConfig
from hw.isa import Counter, DmaTarget, Engine, Opcode
from hw.memory.packing import entry_formats

from .agenda import Agenda
from .compute import Command, ComputeModel
from .control import Gate, Semaphores, Wait
from .dma import DmaModel
from .fetch import Fetch
from .fill import FillModel
from .instructions import CycleError, Instruction, fetch_instruction
from .memory_port import MemoryPort
from .ports import CODE_LOOKAHEAD, STREAM_LOOKAHEAD, WritePort
from .post import PostModel
from .sdram import SdramTimeline

__all__ = ["CycleError", "Run", "run_program"]

BUSY_BEFORE = 5
"""Cycles from the rise of ``busy`` to the first one of the fetch: the reset of the engines."""
FINISH_CYCLES = 2
"""From the first cycle in which everything is done to the one that ends the run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a program. Cycles count from the start of the instruction fetch."""

    cycles: int
    """From the rise of ``busy`` to its fall, as a simulation reports them."""
    counters: dict[Counter, int]
    """The accelerator's performance counters after the run."""
    retired: list[tuple[int, Engine, int]]
    """Cycle, engine and layer of every completed instruction."""
    commands: list[Command]
    """COMPUTE commands with their words and waits, in order."""
    waits: dict[Engine, list[Wait]]
    """Instructions that waited for semaphores."""
    compute_busy: list[tuple[int, int]]
    """Intervals, first and last cycle, in which the compute engine worked."""

    def layer_cycles(self, tags: Iterable[int]) -> list[int]:
        """Cycles of each layer, as :func:`sim.trace.layer_cycles` tells them of a trace."""
        ends: dict[int, int] = {}
        for cycle, engine, layer in self.retired:
            if engine is Engine.POST:
                ends[layer] = cycle
        tags = list(tags)
        result, previous = [], -BUSY_BEFORE
        for index, tag in enumerate(tags):
            end = ends.get(tag, previous)
            if index == len(tags) - 1:
                end = self.cycles - BUSY_BEFORE
            result.append(max(0, end - previous))
            previous = max(previous, end)
        return result


class _Machine:
    """The blocks of the accelerator, connected, for one run."""

    def __init__(
        self, config: AcceleratorConfig, memory: np.ndarray, lengths: list[int], latency: int
    ) -> None:
        self._memory = memory
        self._lengths = lengths
        self._pass_words = entry_formats(config)[DmaTarget.PASSES].words
        self.retired: list[tuple[int, Engine, int]] = []
        self.last_retired = 0
        self.agenda = agenda = Agenda()
        part = config.sdram_part
        sdram = None if part is None else SdramTimeline(part, config.clock_mhz)
        port = MemoryPort(agenda, latency, sdram)
        self.semaphores = Semaphores(agenda)
        self.gates = {
            engine: Gate(agenda, self.semaphores, engine, retired=self._retire, room=self._room)
            for engine in Engine
        }
        writes, stream_writes = WritePort(CODE_LOOKAHEAD), WritePort(STREAM_LOOKAHEAD)
        self.fetch = Fetch(agenda, port, memory.astype("<u4").tobytes(), self.gates)
        self.fill = FillModel(agenda, config, self.gates[Engine.FILL])
        self.dma = DmaModel(
            agenda,
            config,
            port,
            self.gates[Engine.DMA],
            tables=self._load,
            writes={DmaTarget.ACTIVATIONS: writes, DmaTarget.STREAMS: stream_writes},
            reads=self.fill,
        )
        self.post = PostModel(agenda, config, self.gates[Engine.POST], writes, stream_writes)
        self.compute = ComputeModel(agenda, config, self.gates[Engine.COMPUTE], self.post, lengths)
        self.gates[Engine.FILL].model = self.fill
        self.gates[Engine.DMA].model = self.dma
        self.gates[Engine.POST].model = self.post
        self.gates[Engine.COMPUTE].model = self.compute

    def _retire(self, engine: Engine, instruction: Instruction) -> None:
        self.last_retired = self.agenda.now
        self.retired.append((self.agenda.now, engine, instruction.layer))

    def _room(self, gate: Gate) -> None:
        self.fetch.room(gate)

    def _load(self, target: DmaTarget, address: int, external: int, count: int) -> None:
        """The pass table decides on cycles; all other tables do not."""
        if target is DmaTarget.PASSES:
            first = external
            words = self._memory[first : first + self._pass_words * count : self._pass_words]
            self._lengths[address : address + count] = (words >> np.uint32(16)).tolist()

    def run(self, entry: int) -> int:
        """Run to the end; returns the cycle in which the run ends."""
        self.fetch.start(entry)
        self.agenda.run()
        ended = self.fetch.ended_from
        stuck = [gate.engine.name for gate in self.gates.values() if gate.busy]
        if ended is None or stuck or self.compute.pending or self.post.vectors_left:
            waiting = ", ".join(stuck) or "the vectors of a COMPUTE without POST"
            raise CycleError(f"program must end, but {waiting} would wait for ever")
        controlled = max(ended, self.fetch.idle_from, self.last_retired + 1)
        return controlled + FINISH_CYCLES


def pass_lengths(program: Program, config: AcceleratorConfig) -> list[int]:
    """Words of each entry of the pass table after all stages were loaded."""
    lengths = [0] * config.memory.pass_entries
    for stage in program.stages:
        memory = stage.memory.astype("<u4").tobytes()
        address = stage.entry
        while (instruction := fetch_instruction(memory, address)).opcode is not Opcode.END:
            if (
                instruction.opcode is Opcode.DMA
                and instruction["target"] == DmaTarget.PASSES.value
                and not instruction["store"]
            ):
                first, count = instruction["external"], instruction["count"]
                words = stage.memory[first : first + 2 * count : 2]
                start = instruction["address"]
                lengths[start : start + count] = (words >> np.uint32(16)).tolist()
            address += 8
    return lengths


def run_program(program: Program, config: AcceleratorConfig, *, latency: int = 0) -> Run:
    """The run that classifies an image, or a batch of them.

    Args:
        program: Compiled for ``config``.
        config: Sizes.
        latency: Of external memory in block RAM, see
            :class:`hw.memory.external.BlockExternalMemory`.

    Raises:
        CycleError: If the program would not end.
    """
    machine = _Machine(config, program.memory, pass_lengths(program, config), latency)
    end = machine.run(program.image_entry)
    compute = machine.compute
    waits = {engine: gate.waits for engine, gate in machine.gates.items()}
    counters = {
        Counter.TOTAL: end + 1,
        Counter.ARRAY_BUSY: sum(command.words for command in compute.commands),
        Counter.WAIT_SEMAPHORE: _outside(waits[Engine.COMPUTE], compute.busy),
        Counter.WAIT_DRAIN: sum(command.wait_drain for command in compute.commands),
        Counter.WAIT_POST: sum(command.wait_post for command in compute.commands),
        Counter.FILL_BUSY: machine.fill.busy_cycles,
        Counter.DMA_BUSY: machine.dma.busy_cycles,
        Counter.POST_BUSY: machine.post.busy_cycles,
    }
    return Run(
        cycles=end + 1 + BUSY_BEFORE,
        counters=counters,
        retired=machine.retired,
        commands=compute.commands,
        waits=waits,
        compute_busy=compute.busy,
    )


def _outside(waits: list[Wait], busy: list[tuple[int, int]]) -> int:
    """Cycles of the waits in which the engine was not busy; both are in order."""
    total, index = 0, 0
    for wait in waits:
        total += wait.last - wait.first + 1
        while index < len(busy) and busy[index][1] < wait.first:
            index += 1
        place = index
        while place < len(busy) and busy[place][0] <= wait.last:
            first, last = busy[place]
            total -= min(last, wait.last) - max(first, wait.first) + 1
            place += 1
    return total
