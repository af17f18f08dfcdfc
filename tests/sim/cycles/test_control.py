"""Fetch, queues, semaphores and gates of the cycle model against the RTL, with other engines."""

from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw import isa
from hw.control.sequencer import EnginePortSignature, Sequencer
from hw.isa import Engine, Opcode
from hw.memory.arbiter import MemoryArbiter
from hw.memory.external import BlockExternalMemory
from hw.payloads import MemoryPortSignature
from hw.stream import connect_checked
from sim.cycles.agenda import Agenda
from sim.cycles.control import Gate, Semaphores
from sim.cycles.fetch import Fetch
from sim.cycles.instructions import Instruction
from sim.cycles.memory_port import MemoryPort
from tests.hw.control.test_sequencer import flat, simple
from tests.hw.link.peers import simulate

WORDS = 2048
LENGTH = 160
OPCODES = {
    Engine.DMA: Opcode.DMA,
    Engine.FILL: Opcode.FILL,
    Engine.COMPUTE: Opcode.COMPUTE,
    Engine.POST: Opcode.POST,
}
Retired = list[tuple[int, int, int]]
"""Cycle from the start of the fetch on, number of the engine, layer."""


@dataclass(frozen=True)
class Pace:
    """How long an engine leaves each of its commands waiting, and how long it then works on it."""

    waits: list[int]
    works: list[int]


@dataclass(frozen=True)
class Setting:
    """What is around the sequencer."""

    paces: dict[Engine, Pace]
    latency: int
    """Of the memory."""
    burst: int
    """Words of the bursts that another one always asks for; 0: nobody asks."""


def random_setting(rng: Random, slow: Engine) -> Setting:
    paces = {}
    for engine in Engine:
        longest = rng.choice((30, 60)) if engine is slow else 8
        shortest = longest // 2 if engine is slow else 0
        waits = [rng.randrange(shortest, longest) for _ in range(LENGTH)]
        paces[engine] = Pace(waits, [rng.randrange(1, 9) for _ in range(LENGTH)])
    return Setting(paces, latency=rng.randrange(4), burst=rng.choice((0, 0, 16, 64)))


def random_program(rng: Random, slow: Engine) -> list[int]:
    """Half of the instructions are for ``slow``, so that its queue runs full. It cannot hang: only
    one engine waits for each semaphore, after as many signals."""
    program: list[int] = []
    owed = [0] * isa.SEMAPHORES
    for _ in range(LENGTH):
        engine = slow if rng.random() < 0.5 else rng.choice(list(Engine))
        wait = signal = 0
        for semaphore in range(isa.SEMAPHORES):
            waits = semaphore % len(Engine) == engine.value
            if waits and owed[semaphore] and rng.random() < 0.2:
                owed[semaphore] -= 1
                wait |= 1 << semaphore
            elif owed[semaphore] < 20 and rng.random() < 0.1:
                owed[semaphore] += 1
                signal |= 1 << semaphore
        header = {"layer": rng.getrandbits(8), "wait": wait, "signal": signal}
        if rng.random() < 0.05:
            program.append(simple(Opcode.SYNC, rng, **header, engine=engine.value))
        else:
            program.append(simple(OPCODES[engine], rng, **header))
    return program


class Bench(wiring.Component):
    """Sequencer, arbiter and memory; the engines are the testbench's."""

    engines: Out(EnginePortSignature()).array(len(Engine))
    other: In(MemoryPortSignature())
    start: In(1)

    def __init__(self, memory: list[int], latency: int) -> None:
        self.sequencer = Sequencer(WORDS, streams=True)
        self.arbiter = MemoryArbiter(WORDS)
        self.external = BlockExternalMemory(WORDS, latency=latency, init=memory)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = self.sequencer
        m.submodules.arbiter = self.arbiter
        m.submodules.external = self.external
        connect_checked(m, self.sequencer.memory, self.arbiter.fetch)
        connect_checked(m, wiring.flipped(self.other), self.arbiter.dma)
        connect_checked(m, self.arbiter.memory, self.external.port)
        for index in range(len(Engine)):
            connect_checked(m, self.sequencer.engines[index], wiring.flipped(self.engines[index]))
        m.d.comb += self.sequencer.start.eq(self.start)
        return m


@dataclass
class RtlEngine:
    """Drives the ports of one engine."""

    port: data.View
    pace: Pace
    taken: int = 0
    accept: int | None = None
    """Cycle in which it will take the command that is offered."""
    ends: list[int] = field(default_factory=lambda: [0])
    """Cycles in which a command is done, all of the run."""

    def step(self, ctx, cycle: int) -> None:
        ctx.set(self.port.done, cycle in self.ends[1:])
        if self.accept is None and ctx.get(self.port.command.valid):
            self.accept = cycle + self.pace.waits[self.taken]
        ctx.set(self.port.command.ready, self.accept == cycle)
        if self.accept == cycle:
            self.accept = None
            self.ends.append(max(cycle + self.pace.works[self.taken], self.ends[-1] + 1))
            self.taken += 1


def run_rtl(memory: list[int], setting: Setting) -> Retired:
    dut = Bench(memory, setting.latency)
    retired: Retired = []

    async def bench(ctx):
        ctx.set(dut.start, 1)
        request = {"address": 0, "length": setting.burst, "write": 0}
        ctx.set(dut.other.requests.payload, request)
        ctx.set(dut.other.read_data.ready, 1)
        cycle = 0
        engines = [RtlEngine(dut.engines[engine.value], setting.paces[engine]) for engine in Engine]
        while not ctx.get(dut.sequencer.finished):
            ctx.set(dut.other.requests.valid, setting.burst > 0 and cycle > 0)
            for number, engine in enumerate(engines):
                engine.step(ctx, cycle)
                if ctx.get(engine.port.retired):
                    retired.append((cycle, number, ctx.get(engine.port.layer)))
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycle += 1

    simulate(dut, bench, cycles_maximum=200 * LENGTH)
    return retired


@dataclass
class ModelEngine:
    """The same stand-in for the cycle model."""

    agenda: Agenda
    gate: Gate
    pace: Pace
    taken: int = 0
    last: int = 0

    def offer(self, instruction: Instruction) -> None:
        self.agenda.at(self.agenda.now + self.pace.waits[self.taken], self._accept)

    def _accept(self) -> None:
        self.last = max(self.agenda.now + self.pace.works[self.taken], self.last + 1)
        self.taken += 1
        self.agenda.at(self.last, self.gate.done)
        self.gate.accepted()


def run_model(memory: list[int], setting: Setting) -> Retired:
    """The cycle model without its engines."""
    agenda = Agenda()
    semaphores = Semaphores(agenda)
    port = MemoryPort(agenda, setting.latency)
    retired: Retired = []

    def retire(engine: Engine, instruction: Instruction) -> None:
        retired.append((agenda.now, engine.value, instruction.layer))

    def other() -> None:
        burst = port.read(0, setting.burst)
        port.end_burst([burst.take(agenda.now) for _ in range(setting.burst)][-1])
        if len(retired) < LENGTH:
            agenda.at(agenda.now + 1, port.ask_dma)

    gates = {
        engine: Gate(agenda, semaphores, engine, retired=retire, room=lambda gate: fetch.room(gate))
        for engine in Engine
    }
    for engine, gate in gates.items():
        gate.model = ModelEngine(agenda, gate, setting.paces[engine])
    fetch = Fetch(agenda, port, np.array(memory, "<u4").tobytes(), gates)
    fetch.start(0)
    if setting.burst:
        port.dma = other
        agenda.at(1, port.ask_dma)
    agenda.run()
    return retired


@pytest.mark.parametrize("seed", [3, 15, 31, 70])
def test_every_instruction_retires_in_the_cycle_of_the_rtl(seed: int) -> None:
    """In the programs of these seeds an engine takes an instruction in the very cycle in which the
    dispatcher finds its queue full."""
    rng = Random(seed)
    slow = rng.choice(list(Engine))
    memory = flat([*random_program(rng, slow), isa.encode(Opcode.END, {})])
    setting = random_setting(rng, slow)
    expected = run_rtl(memory, setting)
    assert len(expected) == LENGTH
    assert sorted(run_model(memory, setting)) == expected
