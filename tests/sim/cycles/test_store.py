"""Stores of activations: the model against the component, word for word."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.config import AcceleratorConfig, preset
from hw.memory.store import ActivationStore
from sim.cycles.agenda import Agenda
from sim.cycles.memory_port import MemoryPort
from sim.cycles.store import ActivationStoreModel

CYCLES = 2000


class Port(MemoryPort):
    """Takes words in given cycles."""

    def __init__(self, agenda: Agenda, ready: list[bool]) -> None:
        super().__init__(agenda, 0)
        self._clock = agenda
        self._ready = ready
        self.moved: list[int] = []

    def write_word(self) -> int:
        self.moved.append(self._ready.index(True, self._clock.now))
        return self.moved[-1]

    def end_burst(self, cycle: int) -> None:
        pass


class Reads:
    """The FILL engine reads in given cycles."""

    def __init__(self, free: list[bool]) -> None:
        self._free = free

    def is_used(self, cycle: int) -> bool:
        return not self._free[cycle]


def of_component(
    config: AcceleratorConfig, count: int, free: list[bool], ready: list[bool]
) -> list[tuple[int, int]]:
    """Cycle and value of every external word; activation word n has the value n + 1."""
    dut = ActivationStore(config)
    moved: list[tuple[int, int]] = []

    async def bench(ctx):
        ctx.set(dut.count, count)
        ctx.set(dut.start, 1)
        for cycle in range(CYCLES):
            ctx.set(dut.read.ready, free[cycle])
            ctx.set(dut.words.ready, ready[cycle])
            _, _, valid, payload, reads, address, done = await ctx.tick().sample(
                dut.words.valid, dut.words.payload, dut.read.valid, dut.read.payload, dut.done
            )
            ctx.set(dut.start, 0)
            ctx.set(dut.data, address + 1 if reads and free[cycle] else 0)
            if valid and ready[cycle]:
                moved.append((cycle, payload))
            if done:
                return
        raise AssertionError("the store must be done")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return moved


@pytest.mark.parametrize("rows", [4, 8, 16, 32])
def test_every_word_moves_in_the_cycle_that_the_model_tells(rows: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    config = replace(preset("tiny"), array=replace(preset("tiny").array, rows=rows))
    items, parts = max(1, 16 // rows), max(1, rows // 16)
    for count in (1, 2, 3, 7, 40):
        free = [rng.random() < 0.7 for _ in range(CYCLES)]
        ready = [rng.random() < rng.choice((0.3, 0.9)) for _ in range(CYCLES)]
        found = of_component(config, count, free, ready)
        agenda, finished = Agenda(), list[int]()
        port = Port(agenda, ready)
        model = ActivationStoreModel(
            agenda, port, Reads(free), items=items, parts=parts, finished=finished.append
        )
        # The component reads from the cycle after its start on.
        model.begin(1, count)
        model.granted(0, count * parts)
        agenda.run()
        assert port.moved == [cycle for cycle, _ in found]
        assert finished == port.moved[-1:]
        values = [index + 1 for index in range(count)]
        width = 2 * rows
        packed = [
            sum(value << width * place for place, value in enumerate(values[first : first + items]))
            for first in range(0, count, items)
        ]
        assert [value for _, value in found] == [
            word >> 32 * part & 0xFFFFFFFF for word in packed for part in range(parts)
        ]


def test_a_word_takes_two_cycles() -> None:
    always = [True] * CYCLES
    cycles = [cycle for cycle, _ in of_component(preset("ulx3s-85f"), 20, always, always)]
    assert cycles == list(range(4, 44, 2))
