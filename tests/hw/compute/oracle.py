"""Integer oracle of the compute engine, random tables and commands, and testbench actors."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from hw.config import AcceleratorConfig
from hw.isa import Opcode, encode


@dataclass
class Tables:
    """Contents of all memories that a command reads, as arrays of bits or integers."""

    config: AcceleratorConfig
    weights: np.ndarray
    """bool [word, row, lane]"""
    coefficients: np.ndarray
    """int64 [address, row]"""
    windows: list[tuple[list[int], np.ndarray]]
    """offsets of the granules, mask as bool [lane]"""
    passes: list[tuple[int, int, int, int]] = field(default_factory=list)
    """window, length, plane, weight"""

    @classmethod
    def random(cls, config: AcceleratorConfig, rng: random.Random, windows: int = 16) -> Tables:
        generator = np.random.default_rng(rng.getrandbits(32))
        array, memory = config.array, config.memory
        offsets = generator.integers(0, 64, (windows, array.granules))
        masks = generator.integers(0, 8, (windows, array.lanes)) > 0
        return cls(
            config=config,
            weights=generator.integers(0, 2, (memory.weight_words, array.rows, array.lanes)) > 0,
            coefficients=generator.integers(
                -(1 << 17), 1 << 17, (memory.coefficient_words, array.rows)
            ),
            windows=list(zip(offsets.tolist(), masks, strict=True)),
        )

    def add_passes(self, rng: random.Random, lengths: list[int]) -> int:
        """Append random passes of the given lengths; returns the number of the first one."""
        first = len(self.passes)
        for length in lengths:
            window = rng.randrange(len(self.windows) - length + 1)
            self.passes.append((window, length, rng.randrange(4), rng.randrange(15)))
        return first

    def compute(
        self,
        command: dict[str, int],
        granules: np.ndarray,
        held: list[list[int]] | None = None,
    ) -> list[list[int]]:
        """Accumulators of each vector of ``command``; ``granules`` are bool [granule, row].

        They begin with those of the partial command before, ``held``.
        """
        passes = self.passes[command["pass_first"] :][: command["passes"]]
        bases = list(pixel_bases(command, len(granules)))
        vectors = []
        for tile in range(command["tiles"]):
            tile_weight = command["weight_base"] + tile * command["weight_stride"]
            tile_coefficient = command["coefficient_base"] + tile * command["passes"]
            for pixel, base in enumerate(bases):
                total = np.zeros(self.config.array.rows, np.int64)
                if held is not None:
                    total += held[pixel]
                for index, (window, length, plane, weight) in enumerate(passes):
                    dot = np.zeros(self.config.array.rows, np.int64)
                    for word in range(length):
                        offsets, mask = self.windows[window + word]
                        addresses = (base + plane + np.array(offsets)) % len(granules)
                        bits = granules[addresses].ravel()
                        signs = 2 * self.weights[tile_weight + weight + word].astype(np.int64)
                        dot += signs @ bits - (mask & bits).sum()
                    total += dot * self.coefficients[tile_coefficient + index]
                vectors.append([wrap(int(value)) for value in total])
        return vectors

    def strip_cycles(self, command: dict[str, int]) -> int:
        """Cycles of a strip in the steady state, from the engine's docstring."""
        array = self.config.array
        passes = self.passes[command["pass_first"] :][: command["passes"]]
        return max(array.columns, sum(max(length, array.drain_period) for _, length, *_ in passes))


def wrap(value: int, width: int = 32) -> int:
    """``value`` modulo 2**width as a signed number."""
    return (value + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))


def pixel_bases(command: dict[str, int], granules: int):
    """Base of each pixel, by dividing its number instead of counting."""
    for pixel in range(command["pixels"]):
        inner_x = pixel % command["inner_x"]
        inner_y = pixel // command["inner_x"] % command["inner_y"]
        outer = pixel // (command["inner_x"] * command["inner_y"])
        yield (
            inner_x * command["stride_inner_x"]
            + inner_y * command["stride_inner_y"]
            + outer % command["outer_x"] * command["stride_outer_x"]
            + outer // command["outer_x"] * command["stride_outer_y"]
        ) % granules


def random_command(tables: Tables, rng: random.Random, half: int, **fixed: int) -> dict[str, int]:
    """A legal command over passes made for it; ``fixed`` fields are kept."""
    columns = tables.config.array.columns
    lengths = [rng.choice([1, 1, 2, 3, 9]) for _ in range(rng.choice([1, 2, 4]))]
    order = {name: rng.choice([1, 1, 2, 3]) for name in ("inner_x", "inner_y")}
    strides = {
        f"stride_{name}": rng.randrange(40) for name in ("inner_x", "inner_y", "outer_x", "outer_y")
    }
    command = {
        "half": half,
        "tiles": rng.choice([1, 1, 2, 3]),
        "pixels": rng.choice([1, columns, rng.randrange(1, 4 * columns)]),
        "weight_base": rng.randrange(8),
        "weight_stride": rng.randrange(30),
        "coefficient_base": rng.randrange(16),
        "outer_x": rng.choice([1, 3, 5]),
        "partial": 0,
        **order,
        **strides,
        **fixed,
    }
    if "pass_first" not in command:
        command["pass_first"] = tables.add_passes(rng, lengths)
        command["passes"] = len(lengths)
    return command


def pack(bits) -> int:
    """Bits, lowest first, as an integer."""
    return sum(int(bit) << index for index, bit in enumerate(bits))


def window_bits(offsets: list[int], mask: int) -> int:
    """A window table entry: an even number of 16-bit offsets, then the mask."""
    places = len(offsets) + len(offsets) % 2
    return sum(offset << 16 * i for i, offset in enumerate(offsets)) | mask << 16 * places


async def write_table(ctx, port, entries) -> None:
    """Write (row, address, data) through a table's write port, one per cycle."""
    for row, address, value in entries:
        ctx.set(port.enable, 1)
        ctx.set(port.row, row)
        ctx.set(port.address, address)
        ctx.set(port.data, value)
        await ctx.tick()
    ctx.set(port.enable, 0)


async def load_tables(ctx, dut, tables: Tables) -> None:
    """Write all tables (of weights and coefficients those that random commands can reach)."""
    array = tables.config.array
    writes = {
        "windows": [
            (0, i, window_bits(offsets, pack(mask)))
            for i, (offsets, mask) in enumerate(tables.windows)
        ],
        "passes": [
            (0, i, sum(value << 16 * j for j, value in enumerate(entry)))
            for i, entry in enumerate(tables.passes)
        ],
        "weights": [
            (row, i, pack(tables.weights[i, row])) for i in range(100) for row in range(array.rows)
        ],
        "coefficients": [
            (row, i, int(tables.coefficients[i, row]) & (1 << 18) - 1)
            for i in range(32)
            for row in range(array.rows)
        ],
    }
    for name, entries in writes.items():
        await write_table(ctx, getattr(dut, name), entries)


async def write_half(ctx, dut, half: int, granules: np.ndarray) -> None:
    """Fill a half of the column buffers, one word per cycle."""
    for address in range(len(granules) // 2):
        ctx.set(dut.columns.enable, 1)
        ctx.set(dut.columns.half, half)
        ctx.set(dut.columns.address, address)
        ctx.set(dut.columns.data, pack(granules[2 * address : 2 * address + 2].flatten()))
        await ctx.tick()
    ctx.set(dut.columns.enable, 0)


async def send(ctx, stream, payload) -> None:
    """Transfer one item."""
    ctx.set(stream.valid, 1)
    ctx.set(stream.payload, payload)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


def instruction(layout, command: dict[str, int]):
    """The command as the payload of the engine's command stream."""
    return layout.from_bits(encode(Opcode.COMPUTE, command))
