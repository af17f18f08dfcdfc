"""The whole compute engine against the integer oracle, on random tables and commands."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.compute.engine import ComputeEngine
from hw.config import PRESETS, AcceleratorConfig
from hw.control.registers import CLEAR_CYCLES
from tests.hw.compute.oracle import (
    Tables,
    instruction,
    load_tables,
    random_command,
    send,
    write_half,
)

TINY = PRESETS["tiny"]
WIDE = replace(
    TINY,
    name="wide",
    array=replace(TINY.array, rows=4, columns=8, drain_lanes=2),
    memory=replace(TINY.memory, column_granules=256),
)
NARROW = replace(
    TINY,
    name="narrow",
    array=replace(TINY.array, rows=8, columns=2, drain_lanes=1),
    memory=replace(TINY.memory, column_granules=256),
)
LONG = replace(WIDE, name="long", array=replace(WIDE.array, columns=16, drain_lanes=8))
# A step of an odd number of granules, and a multiplier for each element.
DENSE = replace(
    WIDE, name="dense", array=replace(WIDE.array, granules=9, drain_lanes=8, count_width=12)
)
CONFIGS = [replace(TINY, memory=replace(TINY.memory, column_granules=256)), WIDE, NARROW, DENSE]
STROBES = ("array_busy", "wait_drain", "wait_post", "busy", "idle", "done")
CYCLE_LIMIT = 40_000


def random_granules(config: AcceleratorConfig, rng: random.Random) -> np.ndarray:
    generator = np.random.default_rng(rng.getrandbits(32))
    shape = (config.memory.column_granules, config.array.rows)
    return generator.integers(0, 2, shape) > 0


class Run:
    """Runs commands on alternating halves: each half is rewritten as soon as it is done with."""

    def __init__(self, config, seed, commands=8, *, stall=0.0, **fixed) -> None:
        self.rng = random.Random(seed)
        self.stall = stall
        self.dut = ComputeEngine(config)
        self.tables = Tables.random(config, self.rng)
        self.commands = [
            random_command(self.tables, self.rng, index % 2, **fixed) for index in range(commands)
        ]
        self.granules = [random_granules(config, self.rng) for _ in range(commands)]
        self.vectors = []
        self.taken = []
        self.accepted = []
        self.done = 0
        self.filled = 0
        self.late = False  # issue no command before all halves are filled
        self.abandon_after = None  # reset the engine so many cycles after a first command
        self.reset = Signal()
        self.started = False
        self.cycles = 0
        self.strobes = {name: [] for name in STROBES}

    def expected(self) -> list[list[int]]:
        vectors, held = [], None
        for command, granules in zip(self.commands, self.granules, strict=True):
            sums = self.tables.compute(command, granules, held)
            held = sums if command["partial"] else None
            vectors += [] if command["partial"] else sums
        return vectors

    async def abandon(self, ctx) -> None:
        """Start the first command, and reset the engine in the middle of it."""
        await write_half(ctx, self.dut, self.commands[0]["half"], self.granules[0])
        shape = self.dut.command.payload.shape()
        await send(ctx, self.dut.command, instruction(shape, self.commands[0]))
        await ctx.tick().repeat(self.abandon_after)
        ctx.set(self.reset, 1)
        await ctx.tick().repeat(CLEAR_CYCLES)
        ctx.set(self.reset, 0)
        self.done, self.accepted = 0, []

    async def fill(self, ctx) -> None:
        await load_tables(ctx, self.dut, self.tables)
        if self.abandon_after is not None:
            await self.abandon(ctx)
        self.started = True
        for index, granules in enumerate(self.granules):
            while index - self.done >= 2:
                await ctx.tick()
            await write_half(ctx, self.dut, index % 2, granules)
            self.filled += 1

    async def command(self, ctx) -> None:
        for index, command in enumerate(self.commands):
            while self.filled < (len(self.commands) if self.late else index + 1):
                await ctx.tick()
            await send(
                ctx, self.dut.command, instruction(self.dut.command.payload.shape(), command)
            )

    async def observe(self, ctx) -> None:
        command, vectors = self.dut.command, self.dut.vectors
        async for _, _, accepted, taken, *strobes in ctx.tick().sample(
            command.valid & command.ready,
            vectors.valid & vectors.ready,
            *(getattr(self.dut, name) for name in STROBES),
        ):
            if accepted:
                self.accepted.append(self.cycles)
            if taken:
                self.taken.append(self.cycles)
            for values, strobe in zip(self.strobes.values(), strobes, strict=True):
                values.append(strobe)
            self.done += self.strobes["done"][-1]
            self.cycles += 1
            assert self.cycles < CYCLE_LIMIT, "the commands must finish"

    async def take(self, ctx) -> None:
        stream = self.dut.vectors
        rows = len(self.tables.weights[0])
        count = len(self.expected())
        while not self.started:
            await ctx.tick()
        while len(self.vectors) < count:
            ready = self.rng.random() >= self.stall
            ctx.set(stream.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid and ready:
                self.vectors.append([payload[row] for row in range(rows)])
        ctx.set(stream.ready, 1)
        await ctx.tick().repeat(60)

    def simulate(self) -> Run:
        simulator = Simulator(ResetInserter(self.reset)(self.dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.observe, background=True)
        for testbench in (self.fill, self.command, self.take):
            simulator.add_testbench(testbench)
        simulator.run()
        return self


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.3, 1), (0.9, 2)])
def test_vectors_equal_the_oracle(config, stall, seed):
    run = Run(config, seed, stall=stall).simulate()
    assert run.vectors == run.expected(), f"seed {seed}"
    assert run.done == len(run.commands)
    assert run.strobes["idle"][-1]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_the_sums_of_a_partial_command_go_on_in_the_next_one(config, stall):
    run = Run(config, seed=3, commands=9, stall=stall, tiles=1, pixels=1)
    for index, command in enumerate(run.commands):
        command["pixels"] = min(config.array.columns, 1 + index // 3)
        command["partial"] = int(index % 3 < 2)
    run.simulate()
    assert len(run.vectors) == sum(min(config.array.columns, pixels) for pixels in (1, 2, 3))
    assert run.vectors == run.expected()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("cycles", [5, 17, 18, 19, 23, 40, 41, 42, 43, 90])
def test_reset_in_the_middle_of_a_command_leaves_no_trace(config, cycles):
    run = Run(config, 0, commands=0)
    command = command_over(run.tables, [7, 5, 9, 6], half=0, tiles=3, pixels=9)
    run.commands, run.granules = [command], [random_granules(config, run.rng)]
    run.abandon_after = cycles
    run.simulate()
    assert run.vectors == run.expected()


def indices(strobe: list[int]) -> list[int]:
    return [cycle for cycle, value in enumerate(strobe) if value]


def command_over(tables: Tables, lengths: list[int], **fields: int) -> dict[str, int]:
    first = tables.add_passes(random.Random(0), lengths)
    return random_command(
        tables,
        random.Random(0),
        fields.pop("half"),
        pass_first=first,
        passes=len(lengths),
        **fields,
    )


@pytest.mark.parametrize("config", [*CONFIGS, LONG], ids=lambda config: config.name)
@pytest.mark.parametrize("lengths", [[1], [1, 1, 5], [3, 1, 1, 1], [9, 9], [2, 7, 4]])
def test_strips_take_the_documented_cycles(config, lengths):
    columns = config.array.columns
    run = Run(config, 0, commands=0)
    command = command_over(run.tables, lengths, half=0, tiles=2, pixels=4 * columns)
    run.commands, run.granules = [command], [random_granules(config, run.rng)]
    run.simulate()
    strip = run.tables.strip_cycles(command)

    assert run.vectors == run.expected()
    firsts = run.taken[::columns]
    assert {later - first for first, later in pairwise(firsts)} == {strip}
    words = indices(run.strobes["array_busy"])
    assert len(words) == 8 * sum(lengths)
    assert words[0] - run.accepted[0] == run.dut.timing.command_latency
    strip_end = words[sum(lengths) - 1]
    assert firsts[0] - strip_end == run.dut.timing.vector_latency
    assert indices(run.strobes["done"]) == [words[-1] + run.dut.timing.done_latency]
    waits = 1 + words[-1] - words[0] - len(words)
    assert sum(run.strobes["wait_drain"]) == waits
    assert not any(run.strobes["wait_post"])


@pytest.mark.parametrize(("last_length", "lost"), [(7, 0), (12, 0), (6, 1), (2, 5)])
def test_commands_follow_one_another(last_length, lost):
    config = CONFIGS[0]
    run = Run(config, 0, commands=0)
    command = command_over(run.tables, [8, last_length], half=0, tiles=1, pixels=1)
    run.commands = [command, {**command, "half": 1}]
    run.granules = [random_granules(config, run.rng) for _ in range(2)]
    run.late = True
    run.simulate()
    words = indices(run.strobes["array_busy"])
    assert run.vectors == run.expected()
    assert words[-1] - words[0] + 1 - len(words) == lost


def test_strip_waits_for_room_in_the_queue():
    config = CONFIGS[0]
    run = Run(config, 0, commands=0, stall=0.8)
    command = command_over(run.tables, [2, 2], half=0, tiles=1, pixels=40)
    run.commands, run.granules = [command], [random_granules(config, run.rng)]
    run.simulate()
    assert run.vectors == run.expected()
    assert any(run.strobes["wait_post"])


def test_busy_and_idle_cover_everything_in_flight():
    config = CONFIGS[0]
    run = Run(config, 3, stall=0.5).simulate()
    idle = indices(run.strobes["idle"])
    assert set(range(run.accepted[0] + 1)) <= set(idle)
    for cycle, is_idle in enumerate(run.strobes["idle"]):
        vectors = sum(
            command["tiles"] * command["pixels"]
            for command, accepted in zip(run.commands, run.accepted, strict=True)
            if accepted < cycle
        )
        taken = sum(when < cycle for when in run.taken)
        assert is_idle <= (taken == vectors), f"cycle {cycle}"
    words = indices(run.strobes["array_busy"])
    assert all(run.strobes["busy"][cycle] for cycle in words)
