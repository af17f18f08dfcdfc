"""The sequencer with stand-ins for the engines: order, semaphores, malformed programs."""

from dataclasses import dataclass, field
from random import Random

import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import isa
from hw.control.sequencer import EnginePortSignature, Sequencer
from hw.isa import Engine, Opcode
from hw.memory.external import BlockExternalMemory
from hw.stream import connect_checked
from tests.hw.control.test_decoder import owner, plausible_word
from tests.hw.link.peers import simulate
from tests.hw.machine import instruction, words_of

WORDS = 2048


class Bench(wiring.Component):
    """Sequencer with memory; the engines are the testbench's."""

    engines: Out(EnginePortSignature()).array(len(Engine))
    reset: In(1)
    start: In(1)

    def __init__(self, memory: list[int], stall_seed: int | None = None) -> None:
        self.sequencer = Sequencer(WORDS, streams=True)
        self.external = BlockExternalMemory(WORDS, stall_seed=stall_seed, init=memory)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = ResetInserter(self.reset)(self.sequencer)
        m.submodules.external = ResetInserter(self.reset)(self.external)
        connect_checked(m, self.sequencer.memory, self.external.port)
        for index in range(len(Engine)):
            connect_checked(m, self.sequencer.engines[index], wiring.flipped(self.engines[index]))
        m.d.comb += self.sequencer.start.eq(self.start)
        return m


@dataclass
class Log:
    """What the engines saw: (event, engine, command), the event "taken", "done" or "sync"."""

    events: list[tuple[str, Engine, int]] = field(default_factory=list)


def engine_peer(dut: Bench, engine: Engine, log: Log, rng: Random, in_flight: int):
    """Takes commands at random and finishes them in order at random."""
    port = dut.engines[engine.value]

    async def testbench(ctx):
        open_commands = 0
        ready = done = False
        while True:
            _, _, reset, valid, command, retired = await ctx.tick().sample(
                dut.reset, port.command.valid, port.command.payload, port.retired
            )
            if retired and not done:
                log.events.append(("sync", engine, 0))
            if reset:
                open_commands = 0
            elif valid and ready:
                log.events.append(("taken", engine, command))
                open_commands += 1
            done = open_commands > 0 and rng.random() < 0.2
            if done:
                open_commands -= 1
                log.events.append(("done", engine, 0))
            ready = open_commands < in_flight and rng.random() < 0.5
            ctx.set(port.done, done)
            ctx.set(port.command.ready, ready)

    return testbench


def simple(opcode: Opcode, rng: Random, **header: int) -> int:
    """An instruction with random fields that its engine, which is a stand-in, ignores."""
    while True:
        fields = {f.name: rng.getrandbits(f.width) for f in isa.INSTRUCTION_FIELDS[opcode]}
        word = isa.encode(opcode, fields | header)
        if owner(word) is not None:
            return word


def random_program(rng: Random, length: int) -> list[int]:
    """Every wait is covered by a signal of an earlier instruction, so it cannot hang."""
    program: list[int] = []
    owed = [0] * isa.SEMAPHORES
    for _ in range(length):
        wait = 0
        for semaphore in range(isa.SEMAPHORES):
            if owed[semaphore] and rng.random() < 0.4:
                owed[semaphore] -= 1
                wait |= 1 << semaphore
        signal = 0
        for semaphore in range(isa.SEMAPHORES):
            if owed[semaphore] < 20 and rng.random() < 0.2:
                owed[semaphore] += 1
                signal |= 1 << semaphore
        opcode = rng.choice(list(Opcode)[:-1])
        layer = rng.getrandbits(8)
        program.append(simple(opcode, rng, layer=layer, wait=wait, signal=signal))
    return program


def check_order(program: list[int], log: Log, retired: list[tuple[Engine, int]]) -> None:
    """Replays the log: commands in program order, none before its semaphores are there."""
    queues = {engine: [word for word in program if owner(word) == engine] for engine in Engine}
    for engine, words in queues.items():
        layers = [layer for name, layer in retired if name == engine]
        assert layers == [isa.decode(word)[1]["layer"] for word in words]
    counts = [0] * isa.SEMAPHORES
    open_commands: dict[Engine, list[int]] = {engine: [] for engine in Engine}

    def change(mask: int, amount: int) -> bool:
        for semaphore in range(isa.SEMAPHORES):
            if mask >> semaphore & 1:
                counts[semaphore] += amount
        return min(counts) >= 0

    for event, engine, command in log.events:
        if event == "done":
            change(isa.decode(open_commands[engine].pop(0))[1]["signal"], 1)
            continue
        word = queues[engine].pop(0)
        fields = isa.decode(word)[1]
        assert change(fields["wait"], -1)
        if event == "taken":
            assert command == word
            open_commands[engine].append(word)
        else:
            assert isa.decode(word)[0] == Opcode.SYNC
            assert not open_commands[engine]
            change(fields["signal"], 1)
    assert not any(queues.values())
    assert not any(open_commands.values())


def flat(words: list[int]) -> list[int]:
    return [part for word in words for part in words_of(word)]


@pytest.mark.parametrize(("seed", "in_flight"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_programs_keep_their_order_and_their_semaphores(seed: int, in_flight: int) -> None:
    rng = Random(seed)
    program = random_program(rng, 70)
    memory = flat(program) + instruction(Opcode.END) + [0xFFFFFFFF] * 64
    dut = Bench(memory, stall_seed=seed if seed % 2 else None)
    log = Log()
    retired: list[tuple[Engine, int]] = []

    async def control(ctx):
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().until(dut.sequencer.finished)
        assert not ctx.get(dut.sequencer.illegal)

    def retirement(engine: Engine):
        port = dut.engines[engine.value]

        async def testbench(ctx):
            async for _, _, valid, layer in ctx.tick().sample(port.retired, port.layer):
                if valid:
                    retired.append((engine, layer))

        return testbench

    peers = [
        engine_peer(dut, engine, log, Random(f"{seed} {engine}"), in_flight) for engine in Engine
    ]
    background = [*peers, *(retirement(engine) for engine in Engine)]
    simulate(dut, control, background=background, cycles_maximum=20_000)
    check_order(program, log, retired)


def test_malformed_programs_end_and_a_good_one_runs_afterwards() -> None:
    """Hundreds of instructions, most of them legal, many hanging in semaphores that no one
    signals. A program must finish, or be illegal at the right place, or hang and be reset."""
    seed = 11
    rng = Random(seed)
    good = random_program(rng, 6)
    dut = Bench([0] * WORDS)
    log = Log()
    outcomes = {"finished": 0, "illegal": 0, "hanging": 0}

    async def run(ctx, program: list[int]) -> str:
        for index, word in enumerate(flat(program)):
            ctx.set(dut.external.memory.data[index], word)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        log.events.clear()
        ctx.set(dut.reset, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        sequencer = dut.sequencer
        for _ in range(60 * len(program)):
            await ctx.tick()
            if ctx.get(sequencer.finished):
                return "finished"
            if ctx.get(sequencer.illegal):
                first = next(i for i, word in enumerate(program) if owner(word) is None)
                assert ctx.get(sequencer.address) == 8 * first, f"seed {seed}"
                return "illegal"
        return "hanging"

    async def control(ctx):
        end = isa.encode(Opcode.END, {})
        for _ in range(150):
            program = [plausible_word(rng) for _ in range(rng.randrange(1, 8))] + [end]
            if rng.randrange(4) == 0:
                program.insert(0, rng.getrandbits(isa.INSTRUCTION_WIDTH))
            # Fewer waits, or every program would hang at once.
            program = [
                word & ~(rng.getrandbits(isa.SEMAPHORES) * rng.randrange(2) << 12)
                for word in program
            ]
            if rng.randrange(2):
                program = [word & ~((1 << isa.SEMAPHORES) - 1 << 12) for word in program]
            outcomes[await run(ctx, program)] += 1
            assert await run(ctx, [*good, end]) == "finished", f"seed {seed}"
            check_order_of_commands(good, log)

    peers = [engine_peer(dut, engine, log, Random(f"{seed} {engine}"), 2) for engine in Engine]
    simulate(dut, control, background=peers, cycles_maximum=600_000)
    assert min(outcomes.values()) > 5, outcomes


def check_order_of_commands(program: list[int], log: Log) -> None:
    for engine in Engine:
        commands = [word for word in program if owner(word) == engine]
        commands = [word for word in commands if isa.decode(word)[0] != Opcode.SYNC]
        seen = [word for event, name, word in log.events if (event, name) == ("taken", engine)]
        assert seen == commands


def test_an_instruction_beyond_the_memory_is_a_bad_address() -> None:
    program = [isa.encode(Opcode.SYNC, {"engine": 0})] * (WORDS // 8)
    dut = Bench(flat(program))

    async def control(ctx):
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().until(dut.sequencer.bad_address)
        assert ctx.get(dut.sequencer.address) == WORDS
        await ctx.tick().repeat(50)
        assert not ctx.get(dut.sequencer.finished)

    simulate(dut, control, cycles_maximum=WORDS * 4)
