"""Loops and look-up of passes against nested Python loops."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.compute.passes import PassLookup, PassLoops
from hw.config import PRESETS
from tests.hw.compute.oracle import Tables, instruction, random_command, send, write_table

CONFIG = replace(
    PRESETS["tiny"], memory=replace(PRESETS["tiny"].memory, weight_words=64, coefficient_words=64)
)


class Passes(wiring.Component):
    """Both components in a row."""

    def __init__(self, config) -> None:
        self.loops, self.lookup = PassLoops(config), PassLookup(config)
        super().__init__(
            {
                "command": In(self.loops.command.signature.flip()),
                "release": In(1),
                "write": In(self.lookup.write.signature.flip()),
                "o": Out(self.lookup.o.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.loops, m.submodules.lookup = self.loops, self.lookup
        wiring.connect(m, wiring.flipped(self.command), self.loops.command)
        wiring.connect(m, wiring.flipped(self.write), self.lookup.write)
        wiring.connect(m, self.loops.o, self.lookup.requests)
        wiring.connect(m, self.lookup.o, wiring.flipped(self.o))
        m.d.comb += self.loops.release.eq(self.release)
        return m


def expected_steps(tables: Tables, command: dict[str, int]) -> list[dict[str, int]]:
    columns = CONFIG.array.columns
    passes = tables.passes[command["pass_first"] :][: command["passes"]]
    strips = list(range(0, command["pixels"], columns))
    steps = []
    for tile in range(command["tiles"]):
        for strip in strips:
            for index, (window, length, plane, weight) in enumerate(passes):
                final = index == len(passes) - 1
                steps.append(
                    {
                        "window": window,
                        "length": length,
                        "plane": plane,
                        "weight": (
                            command["weight_base"] + tile * command["weight_stride"] + weight
                        )
                        % CONFIG.memory.weight_words,
                        "coefficient": (command["coefficient_base"] + tile * len(passes) + index)
                        % CONFIG.memory.coefficient_words,
                        "half": command["half"],
                        "first": int(index == 0),
                        "final": int(final),
                        "tile": int(strip == 0),
                        "end": int(final and strip == strips[-1] and tile == command["tiles"] - 1),
                        "columns": min(columns, command["pixels"] - strip),
                    }
                )
    return steps


@pytest.mark.parametrize("ready_rate", [1.0, 0.4])
def test_steps_follow_the_loops(ready_rate):
    rng = random.Random(f"{ready_rate}")
    dut = Passes(CONFIG)
    tables = Tables.random(CONFIG, rng)
    commands = [random_command(tables, rng, rng.getrandbits(1)) for _ in range(12)]
    expected = [step for command in commands for step in expected_steps(tables, command)]
    steps = []

    async def sender(ctx):
        entries = [
            (0, i, sum(value << 16 * j for j, value in enumerate(entry)))
            for i, entry in enumerate(tables.passes)
        ]
        await write_table(ctx, dut.write, entries)
        for command in commands:
            await send(ctx, dut.command, instruction(dut.command.payload.shape(), command))

    async def receiver(ctx):
        while len(steps) < len(expected):
            ready = rng.random() < ready_rate
            ctx.set(dut.o.ready, ready)
            ctx.set(dut.release, 0)
            _, _, valid, step = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                fields = {name: step[name] for name in ("window", "length", "plane", "weight")}
                place = {name: step.place[name] for name, _ in step.place.shape()}
                steps.append(fields | place)
                ctx.set(dut.release, step.place.end)
                if step.place.end:
                    ctx.set(dut.o.ready, 0)
                    await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender)
    simulator.add_testbench(receiver)
    simulator.run()
    assert steps == expected
