"""The whole compute engine against the integer oracle, on random tables and commands."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.compute.engine import ComputeEngine
from hw.config import PRESETS, AcceleratorConfig
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
CONFIGS = [replace(TINY, memory=replace(TINY.memory, column_granules=256)), WIDE, NARROW]
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
        self.offered = []
        self.issued = []
        self.done = 0
        self.filled = 0
        self.cycles = 0
        self.strobes = {"array_busy": [], "wait_drain": [], "wait_post": [], "idle": []}

    def expected(self) -> list[list[int]]:
        return [
            vector
            for command, granules in zip(self.commands, self.granules, strict=True)
            for vector in self.tables.compute(command, granules)
        ]

    async def fill(self, ctx) -> None:
        await load_tables(ctx, self.dut, self.tables)
        for index, granules in enumerate(self.granules):
            while index - self.done >= 2:
                await ctx.tick()
            await write_half(ctx, self.dut, index % 2, granules)
            self.filled += 1

    async def command(self, ctx) -> None:
        for index, command in enumerate(self.commands):
            while self.filled <= index:
                await ctx.tick()
            await send(
                ctx, self.dut.command, instruction(self.dut.command.payload.shape(), command)
            )

    async def observe(self, ctx) -> None:
        async for _, _, done, *strobes in ctx.tick().sample(
            self.dut.done, *(getattr(self.dut, name) for name in self.strobes)
        ):
            self.cycles += 1
            assert self.cycles < CYCLE_LIMIT, "the commands must finish"
            self.done += done
            for values, strobe in zip(self.strobes.values(), strobes, strict=True):
                values.append(strobe)

    async def take(self, ctx) -> None:
        stream = self.dut.vectors
        rows = len(self.tables.weights[0])
        count = len(self.expected())
        while len(self.vectors) < count:
            ready = self.rng.random() >= self.stall
            ctx.set(stream.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid and ready:
                self.vectors.append([payload[row] for row in range(rows)])
                self.offered.append(self.cycles)
        ctx.set(stream.ready, 1)
        await ctx.tick().repeat(60)

    def simulate(self) -> Run:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.observe, background=True)
        for testbench in (self.fill, self.command, self.take):
            simulator.add_testbench(testbench)
        simulator.run()
        return self


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(2))
def test_vectors_equal_the_oracle(config, stall, seed):
    run = Run(config, seed, stall=stall).simulate()
    assert run.vectors == run.expected(), f"seed {seed}"
    assert run.done == len(run.commands)
    assert run.strobes["idle"][-1]
