"""DMA transfers against the data formats of docs/architecture.md, written down once more here."""

from dataclasses import replace
from random import Random

import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import PRESETS, AcceleratorConfig
from hw.isa import DmaTarget, Opcode, instruction_layout
from hw.memory.activation import ActivationMemory
from hw.memory.dma import DmaEngine
from hw.memory.external import BlockExternalMemory
from hw.memory.packing import entry_formats
from hw.payloads import ActivationReadSignature, ActivationWriteSignature
from hw.stream import connect_checked
from tests.hw.link.peers import simulate

TINY = PRESETS["tiny"]
SMALL = PRESETS["ulx3s-12f"]
LARGE = replace(
    PRESETS["ulx3s-85f"], datapath=replace(PRESETS["ulx3s-85f"].datapath, comparators=1)
)
WIDE = replace(
    TINY,
    name="wide",
    array=replace(TINY.array, rows=32),
    datapath=replace(TINY.datapath, comparators=5),
)
# Items that neither fill a word nor a number of words: 12, 24, 40 and 72 bits; 48 in `LARGE`.
ODD = replace(TINY, name="odd", array=replace(TINY.array, granules=3))
THREE = replace(TINY, name="three", array=replace(TINY.array, rows=8, granules=3))
FIVE = replace(TINY, name="five", array=replace(TINY.array, rows=8, granules=5))
DENSE = replace(TINY, name="dense", array=replace(TINY.array, rows=8, granules=9))
# Weights and activations with different numbers of items in a word.
MIXED = replace(TINY, name="mixed", array=replace(TINY.array, granules=1))
HALVES = replace(TINY, name="halves", array=replace(TINY.array, granules=4))
CONFIGS = {
    config.name: config
    for config in (TINY, SMALL, LARGE, WIDE, ODD, THREE, FIVE, DENSE, MIXED, HALVES)
}
WORDS = 4096
TENSORS = (DmaTarget.ACTIVATIONS, DmaTarget.STREAMS)
TABLES = [target for target in DmaTarget if target not in TENSORS]


class Bench(wiring.Component):
    """DMA engine with both memories; the ports of the other engines are free."""

    def __init__(
        self, config: AcceleratorConfig, external: list[int], stall_seed: int | None
    ) -> None:
        self.dma = DmaEngine(config)
        self.activations = ActivationMemory(config)
        self.external = BlockExternalMemory(WORDS, stall_seed=stall_seed, init=external)
        super().__init__(
            {
                "command": In(stream.Signature(instruction_layout(Opcode.DMA))),
                "done": Out(1),
                "post_write": In(ActivationWriteSignature(config)),
                "fill_read": In(ActivationReadSignature(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma = dma = self.dma
        m.submodules.activations = activations = self.activations
        m.submodules.external = self.external
        connect_checked(m, dma.memory, self.external.port)
        connect_checked(m, dma.activation_write, activations.dma_write)
        connect_checked(m, dma.activation_read, activations.dma_read)
        connect_checked(m, wiring.flipped(self.command), dma.command)
        connect_checked(m, wiring.flipped(self.post_write), activations.post_write)
        connect_checked(m, wiring.flipped(self.fill_read), activations.fill_read)
        m.d.comb += [
            dma.activation_data.eq(activations.dma_data),
            self.done.eq(dma.done),
        ]
        return m


async def nothing(ctx) -> None:
    pass


def run(
    dut: Bench,
    commands: list[dict],
    rng: Random,
    post_words: range = range(0),
    inspect=nothing,
):
    """Executes ``commands``; returns all table writes and whether an address was bad.

    The post engine writes ``post_words`` over and over and the FILL engine reads, at random.
    ``inspect`` is called at the end.
    """
    writes: list[tuple[DmaTarget, int, int, int]] = []
    bad: list[int] = []

    async def command_side(ctx):
        for command in commands:
            layout = instruction_layout(Opcode.DMA)
            ctx.set(dut.command.payload, layout.const(command))
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)
            await ctx.tick().until(dut.done)
        await ctx.tick().repeat(3)
        await inspect(ctx)

    async def engines(ctx):
        while post_words:
            address = rng.choice(post_words)
            ctx.set(dut.post_write.address, address)
            ctx.set(dut.post_write.data, address & 0xFF)
            ctx.set(dut.post_write.enable, rng.choice((0, 0, 3)))
            ctx.set(dut.fill_read.enable, rng.randrange(2))
            await ctx.tick()

    def monitor(target: DmaTarget):
        table = getattr(dut.dma, target.name.lower())

        async def testbench(ctx):
            async for _, _, enable, row, address, word in ctx.tick().sample(
                table.enable, table.row, table.address, table.data
            ):
                if enable:
                    writes.append((target, row, address, word))

        return testbench

    async def bad_monitor(ctx):
        async for _, _, pulse in ctx.tick().sample(dut.dma.bad_address):
            if pulse:
                bad.append(len(writes))

    background = [engines, bad_monitor, *(monitor(target) for target in TABLES)]
    simulate(dut, command_side, background=background, cycles_maximum=30_000)
    return writes, bad


def random_entry(config: AcceleratorConfig, target: DmaTarget, rng: Random):
    """An entry as the table holds it, and its external words (of an item that is alone)."""
    lanes = config.array.lanes

    def split(value: int, width: int) -> list[int]:
        return [value >> (32 * part) & 0xFFFFFFFF for part in range(-(-width // 32))]

    match target:
        case DmaTarget.WEIGHTS | DmaTarget.ACTIVATIONS:
            width = item_width(config, target)
            value = rng.getrandbits(width)
            return value, split(value, width)
        case DmaTarget.COEFFICIENTS:
            value = rng.getrandbits(18)
            return value, [value | rng.getrandbits(14) << 18]
        case DmaTarget.PARAMETERS:
            value = rng.getrandbits(32)
            return value, [value]
        case DmaTarget.WINDOWS:
            pairs = -(-config.array.granules // 2)
            offsets, mask = rng.getrandbits(32 * pairs), rng.getrandbits(lanes)
            return offsets | mask << 32 * pairs, split(offsets, 32 * pairs) + split(mask, lanes)
        case DmaTarget.PASSES:
            words = [rng.getrandbits(32), rng.getrandbits(32)]
            return words[0] | words[1] << 32, words
        case DmaTarget.THRESHOLDS:
            value, words = 0, []
            for comparator in range(config.datapath.comparators):
                threshold, delta = rng.getrandbits(32), rng.getrandbits(16)
                value |= (threshold | delta << 32) << (48 * comparator)
                words += [threshold, delta | rng.getrandbits(16) << 16]
            return value, words
    raise AssertionError(target)


def external_image(config: AcceleratorConfig, target: DmaTarget, count: int, rng: Random):
    """``count`` entries and their external words."""
    entries = [random_entry(config, target, rng) for _ in range(count)]
    values = [value for value, _ in entries]
    is_item = target in (DmaTarget.WEIGHTS, DmaTarget.ACTIVATIONS)
    if is_item:
        return values, pack(values, item_width(config, target))
    return values, [word for _, words in entries for word in words]


def item_width(config: AcceleratorConfig, target: DmaTarget) -> int:
    return config.array.lanes if target == DmaTarget.WEIGHTS else config.array.word_width


def pack(values: list[int], width: int) -> list[int]:
    """One stream of bits, low bits first, in whole words."""
    bits = sum(value << (width * place) for place, value in enumerate(values))
    return [bits >> 32 * word & 0xFFFFFFFF for word in range(-(-len(values) * width // 32))]


@pytest.mark.parametrize("name", CONFIGS)
def test_tables_are_loaded_from_their_external_form(name: str) -> None:
    config = CONFIGS[name]
    rng = Random(name)
    memory, commands, expected = [0] * WORDS, [], []
    end = 0
    for target in rng.sample(TABLES, len(TABLES)) * 2:
        has_rows = target in (DmaTarget.WEIGHTS, DmaTarget.COEFFICIENTS)
        rows = config.array.rows if has_rows else 1
        count = rng.choice((0, 1, 5, 2 * rows + 1, 30))
        values, words = external_image(config, target, count, rng)
        address = rng.randrange(10)
        memory[end : end + len(words)] = words
        commands.append({"target": target, "address": address, "external": end, "count": count})
        end += len(words) + rng.randrange(3)
        expected += [
            (target, index % rows, address + index // rows, value)
            for index, value in enumerate(values)
        ]
    writes, bad = run(Bench(config, memory, 17), commands, rng)
    assert writes == expected
    assert not bad


@pytest.mark.parametrize("name", CONFIGS)
def test_activations_are_loaded_and_stored_beside_the_other_engines(name: str) -> None:
    config = CONFIGS[name]
    rng = Random(name)
    count, source, copy = 83, 5, 2000
    values, words = external_image(config, DmaTarget.ACTIVATIONS, count, rng)
    dut = Bench(config, words, 99)
    target = DmaTarget.ACTIVATIONS
    commands = [
        {"target": target, "address": source, "external": 0, "count": count},
        {"store": 1, "target": target, "address": source, "external": copy, "count": count},
    ]
    mask = (1 << config.array.word_width) - 1
    checked = []

    async def inspect(ctx):
        rows, external = dut.activations.memory.data, dut.external.memory.data
        for index, value in enumerate(values):
            assert ctx.get(Value.cast(rows[source + index])) == value & mask
        for index, word in enumerate(words):
            assert ctx.get(external[copy + index]) == word
        checked.append(True)

    run(dut, commands, rng, range(500, 510), inspect)
    assert checked


@pytest.mark.parametrize("name", CONFIGS)
def test_rectangles_are_loaded_and_stored_run_by_run(name: str) -> None:
    config = CONFIGS[name]
    rng = Random(name)
    form = entry_formats(config)[DmaTarget.ACTIVATIONS]
    external = [rng.getrandbits(32) for _ in range(1500)] + [0] * (WORDS - 1500)
    commands, on_chip, stored = [], {}, {}
    end = 0
    for runs, rows, groups in (
        (0, 0, 2),
        (3, 0, 1),
        (0, 4, 3),
        (2, 3, 5),
        (1, 0, 70),
    ):
        count = groups * form.entries
        words = form.words_of(count)
        run_stride = words + rng.randrange(4)
        row_stride = (runs + 1) * run_stride + rng.randrange(9)
        extent = rows * row_stride + runs * run_stride + words
        source, target = rng.randrange(1500 - extent), 1500 + rng.randrange(WORDS - 1500 - extent)
        common = {
            "target": DmaTarget.ACTIVATIONS,
            "address": end,
            "count": count,
            "runs": runs,
            "run_stride": run_stride,
            "rows": rows,
            "row_stride": row_stride,
        }
        commands += [common | {"external": source}, common | {"external": target, "store": 1}]
        for row in range(rows + 1):
            for run_number in range(runs + 1):
                offset = row * row_stride + run_number * run_stride
                data = external[source + offset :][:words]
                stored |= {target + offset + index: word for index, word in enumerate(data)}
                on_chip |= {end + index: v for index, v in enumerate(unpack(data, config))}
                end += count
    assert len(on_chip) == end
    # A later rectangle may lie over an earlier one: what is stored last stays.
    dut = Bench(config, external, 7)
    checked = []

    async def inspect(ctx):
        for address, value in on_chip.items():
            assert ctx.get(Value.cast(dut.activations.memory.data[address])) == value, address
        for address, word in stored.items():
            assert ctx.get(dut.external.memory.data[address]) == word, address
        checked.append(True)

    run(dut, commands, rng, inspect=inspect)
    assert checked


def unpack(words: list[int], config: AcceleratorConfig) -> list[int]:
    """Activation words from external words."""
    width = config.array.word_width
    if width < 32:
        mask = (1 << width) - 1
        return [word >> (width * place) & mask for word in words for place in range(32 // width)]
    parts = width // 32
    return [
        sum(word << 32 * part for part, word in enumerate(words[first : first + parts]))
        for first in range(0, len(words), parts)
    ]


def test_a_load_takes_a_cycle_per_word() -> None:
    count = 512
    dut = Bench(LARGE, [0] * WORDS, None)
    cycles = []

    async def monitor(ctx):
        start = None
        cycle = 0
        async for _, _, valid, ready, done in ctx.tick().sample(
            dut.command.valid, dut.command.ready, dut.done
        ):
            cycle += 1
            if valid and ready:
                start = cycle
            if done:
                cycles.append(cycle - start)

    async def command_side(ctx):
        command = {"target": DmaTarget.WEIGHTS, "count": count}
        ctx.set(dut.command.payload, instruction_layout(Opcode.DMA).const(command))
        ctx.set(dut.command.valid, 1)
        await ctx.tick().until(dut.command.ready)
        ctx.set(dut.command.valid, 0)
        await ctx.tick().until(dut.done)
        await ctx.tick()

    simulate(dut, command_side, background=[monitor], cycles_maximum=2000)
    words = entry_formats(LARGE)[DmaTarget.WEIGHTS].words_of(count)
    bursts = words // 64
    assert words <= cycles[0] <= words + 10 * bursts


@pytest.mark.parametrize("target", [*TABLES, DmaTarget.ACTIVATIONS])
def test_entries_beyond_the_target_are_dropped(target: DmaTarget) -> None:
    sizes = TINY.memory
    depth = {
        DmaTarget.WEIGHTS: sizes.weight_words,
        DmaTarget.COEFFICIENTS: sizes.coefficient_words,
        DmaTarget.PARAMETERS: sizes.parameter_words,
        DmaTarget.WINDOWS: sizes.window_entries,
        DmaTarget.PASSES: sizes.pass_entries,
        DmaTarget.THRESHOLDS: sizes.threshold_groups,
        DmaTarget.ACTIVATIONS: sizes.activation_words,
    }[target]
    has_rows = target in (DmaTarget.WEIGHTS, DmaTarget.COEFFICIENTS)
    rows = TINY.array.rows if has_rows else 1
    command = {"target": target, "address": depth - 1, "count": 3 * rows}
    writes, bad = run(Bench(TINY, [1] * WORDS, 5), [command], Random(1))
    assert len(bad) == 2 * rows
    if target != DmaTarget.ACTIVATIONS:
        assert [(row, address) for _, row, address, _ in writes] == [
            (row, depth - 1) for row in range(rows)
        ]
