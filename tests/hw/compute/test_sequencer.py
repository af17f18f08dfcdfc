"""Pacing rules of the sequencer on random passes and a queue of any speed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from amaranth.sim import Simulator

from hw.compute.sequencer import Sequencer
from hw.config import PRESETS
from tests.hw.compute.oracle import send

CONFIG = PRESETS["tiny"]
COLUMNS = CONFIG.array.columns
QUEUE_DEPTH = 16
FLAGS = ("valid", "start", "last", "final", "release", "done")


def random_passes(rng: random.Random, strips: int) -> list[dict]:
    passes = []
    for strip in range(strips):
        count = rng.choice([1, 1, 2, 4])
        for index in range(count):
            place = {
                "coefficient": rng.randrange(64),
                "half": rng.randrange(2),
                "first": index == 0,
                "final": index == count - 1,
                "tile": strip % 3 == 0,
                "end": strip % 4 == 3 and index == count - 1,
                "columns": rng.randint(1, COLUMNS),
            }
            window, weight = rng.randrange(100), rng.randrange(100)
            length, plane = rng.choice([1, 1, 2, 6]), rng.randrange(8)
            step = {"window": window, "length": length, "plane": plane, "weight": weight}
            passes.append({**step, "place": place})
    return passes


def expected_words(passes: list[dict]) -> list[dict[str, int]]:
    return [
        {
            "window": step["window"] + word,
            "plane": step["plane"],
            "weight": step["weight"] + word,
            "coefficient": place["coefficient"],
            "half": place["half"],
            "valid": 1,
            "start": place["first"] and word == 0,
            "tile": place["first"] and place["tile"] and word == 0,
            "last": word == step["length"] - 1,
            "final": place["final"] and word == step["length"] - 1,
            "release": place["end"] and word == 0,
            "done": place["end"] and word == step["length"] - 1,
        }
        for step in passes
        for place in [step["place"]]
        for word in range(step["length"])
    ]


@pytest.mark.parametrize("pass_rate", [1.0, 0.2])
@pytest.mark.parametrize("pop_rate", [1.0, 0.3])
def test_words_come_in_order_and_keep_their_distances(pass_rate, pop_rate):
    rng = random.Random(f"{pass_rate} {pop_rate}")
    dut = Sequencer(CONFIG, queue_depth=QUEUE_DEPTH)
    passes = random_passes(rng, strips=40)
    expected = expected_words(passes)
    words, cycles = [], []
    waits = {"wait_drain": 0, "wait_post": 0}

    async def sender(ctx):
        for step in passes:
            while rng.random() >= pass_rate:
                await ctx.tick()
            await send(ctx, dut.passes, step)

    async def receiver(ctx):
        cycle = reserved = queued = 0
        strips = iter([step["place"]["columns"] for step in passes if step["place"]["final"]])
        while len(words) < len(expected) or reserved:
            step = {name: int(ctx.get(dut.step)[name]) for name, _ in dut.step.shape()}
            if step["valid"]:
                words.append(step)
                cycles.append(cycle)
            else:
                assert not any(step[flag] for flag in FLAGS)
            if step["final"]:
                assert QUEUE_DEPTH - reserved >= COLUMNS
                reserved += next(strips)
            queued += ctx.get(dut.emit)
            popped = queued > 0 and rng.random() < pop_rate
            ctx.set(dut.popped, popped)
            reserved -= popped
            queued -= popped
            for name in waits:
                waits[name] += ctx.get(getattr(dut, name))
            await ctx.tick()
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sender)
    simulator.add_testbench(receiver)
    simulator.run()
    assert words == expected

    for flag, distance in (
        ("last", CONFIG.array.drain_period),
        ("start", COLUMNS),
        ("final", COLUMNS),
    ):
        when = [cycle for cycle, word in zip(cycles, words, strict=True) if word[flag]]
        assert min(later - first for first, later in pairwise(when)) >= distance
    assert waits["wait_drain"] > 0
    if pop_rate < 1 and pass_rate == 1:
        assert waits["wait_post"] > 0
