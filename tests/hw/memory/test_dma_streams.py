"""Stream vectors between the external memory and the post engine's memories."""

from dataclasses import replace
from random import Random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import PRESETS, AcceleratorConfig
from hw.isa import DmaTarget, Opcode, instruction_layout
from hw.memory.dma import DmaEngine
from hw.memory.external import BlockExternalMemory
from hw.post.stream_memory import StreamWriteSignature
from hw.post.stream_spill import StreamSpill
from hw.stream import connect_checked
from tests.hw.link.peers import simulate

WORDS = 4096
DEPTH, SPILLED = 64, 16


def config_of(rows: int) -> AcceleratorConfig:
    tiny = PRESETS["tiny"]
    return replace(
        tiny,
        array=replace(tiny.array, rows=rows),
        memory=replace(tiny.memory, stream_vectors=DEPTH, spill_vectors=SPILLED),
    )


class Bench(wiring.Component):
    """DMA engine, external memory, and what lies before the stream memory."""

    def __init__(self, config: AcceleratorConfig, external: list[int], seed: int) -> None:
        self.dma = DmaEngine(config)
        self.spill = StreamSpill(config)
        self.external = BlockExternalMemory(WORDS, stall_seed=seed, init=external)
        vectors = {"width": config.datapath.stream_width, "rows": config.array.rows}
        super().__init__(
            {
                "command": In(stream.Signature(instruction_layout(Opcode.DMA))),
                "done": Out(1),
                "store": In(StreamWriteSignature(depth=2 * DEPTH, **vectors)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma = dma = self.dma
        m.submodules.spill = spill = self.spill
        m.submodules.external = self.external
        connect_checked(m, dma.memory, self.external.port)
        connect_checked(m, dma.stream_write, spill.load)
        connect_checked(m, wiring.flipped(self.command), dma.command)
        connect_checked(m, wiring.flipped(self.store), spill.store)
        m.d.comb += [
            spill.address.eq(dma.spill_read),
            dma.spill_data.eq(spill.data),
            dma.activation_write.ready.eq(0),
            dma.activation_read.ready.eq(0),
            self.done.eq(dma.done),
        ]
        # The simulator must see the port to the stream memory.
        seen = Signal.like(spill.memory.enable)
        m.d.comb += seen.eq(spill.memory.enable)
        return m


def pack(vector: list[int], words: int) -> list[int]:
    total = sum((value & 0x3FFFF) << 18 * lane for lane, value in enumerate(vector))
    return [total >> 32 * word & 0xFFFFFFFF for word in range(words)]


@pytest.mark.parametrize("rows", [4, 8, 16])
def test_vectors_are_loaded_and_spilled_ones_stored_beside_the_post_engine(rows: int) -> None:
    rng = Random(rows)
    config = config_of(rows)
    words = -(-18 * rows // 32)

    def vector() -> list[int]:
        return [rng.randint(-(1 << 17), (1 << 17) - 1) for _ in range(rows)]

    runs, rows_of_runs, count, run_stride, row_stride = 2, 2, 3, 3 * words + 2, 60
    loaded = [vector() for _ in range((runs + 1) * (rows_of_runs + 1) * count)]
    places = [
        row * row_stride * 3 + run * run_stride + index * words
        for row in range(rows_of_runs + 1)
        for run in range(runs + 1)
        for index in range(count)
    ]
    external = [0] * WORDS
    for place, value in zip(places, loaded, strict=True):
        external[place : place + words] = pack(value, words)
    spilled = {place: vector() for place in range(SPILLED)}
    shape = {
        "target": DmaTarget.STREAMS,
        "count": count,
        "runs": runs,
        "run_stride": run_stride,
        "rows": rows_of_runs,
        "row_stride": 3 * row_stride,
    }
    load = shape | {"address": 7, "external": 0}
    store = shape | {"address": 2, "external": 2000, "store": 1, "count": 1}
    dut = Bench(config, external, rows)
    writes: dict[int, list[int]] = {}
    own: dict[int, list[int]] = {}
    at_once: list[int] = []

    async def post_engine(ctx):
        """Spills its vectors, then writes to the stream memory at random."""
        for place, value in spilled.items():
            ctx.set(dut.store.enable, 1)
            ctx.set(dut.store.address, DEPTH + place)
            ctx.set(dut.store.data, value)
            await ctx.tick()
        while True:
            value = vector()
            enable = rng.randrange(2)
            ctx.set(dut.store.enable, enable)
            ctx.set(dut.store.address, 50)
            ctx.set(dut.store.data, value)
            if enable:
                own[50] = value
            await ctx.tick()

    async def stream_memory(ctx):
        memory = dut.spill.memory
        async for _, _, enable, address, *values in ctx.tick().sample(
            memory.enable, memory.address, *(memory.data[row] for row in range(rows))
        ):
            if enable:
                writes[address] = values

    async def refusals(ctx):
        load_port = dut.spill.load
        async for _, _, valid, ready in ctx.tick().sample(load_port.valid, load_port.ready):
            at_once.append(valid and not ready)

    checked = []

    async def command_side(ctx):
        await ctx.tick().repeat(SPILLED + 3)
        for command in (load, store):
            ctx.set(dut.command.payload, instruction_layout(Opcode.DMA).const(command))
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)
            await ctx.tick().until(dut.done)
        await ctx.tick().repeat(3)
        number = 0
        for row in range(rows_of_runs + 1):
            for run in range(runs + 1):
                place = 2000 + row * row_stride * 3 + run * run_stride
                expected = pack(spilled[2 + number], words)
                for index, word in enumerate(expected):
                    assert ctx.get(dut.external.memory.data[place + index]) == word, number
                number += 1
        checked.append(number)

    background = [post_engine, stream_memory, refusals]
    simulate(dut, command_side, background=background, cycles_maximum=6000)
    assert checked == [9]
    for index, value in enumerate(loaded):
        assert writes[7 + index] == value, index
    assert 50 in writes
    assert sum(at_once) > 3
