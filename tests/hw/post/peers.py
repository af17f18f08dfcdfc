"""Peers of the blocks inside the post engine, whose streams are always ready."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.sim import Simulator

from tests.hw.post.model import Vector

__all__ = ["POSITION_FLAGS", "drive", "places", "random_vectors", "values_of"]

POSITION_FLAGS = ("tile_first", "window_first", "window_last", "row_last", "tile_last", "last")


def places(
    *, tiles: int, rows: int, windows: int, window: int, complete: bool = True
) -> list[dict[str, int]]:
    """Positions of the vectors of a command; ``rows`` of ``windows`` windows in each tile."""
    result = []
    for tile in range(tiles):
        for index in range(rows * windows * window):
            inner, outer = index % window, index // window
            flags = {
                "tile_first": index == 0,
                "window_first": inner == 0,
                "window_last": inner == window - 1,
                "row_last": inner == window - 1 and outer % windows == windows - 1,
                "tile_last": index == rows * windows * window - 1,
            }
            flags["last"] = flags["tile_last"] and tile == tiles - 1
            result.append({name: int(value) for name, value in flags.items()})
    return result


def random_vectors(source: random.Random, *, count: int, rows: int, width: int) -> list[Vector]:
    """Signed vectors with extreme values and many small ones among them."""
    low, high = -(1 << width - 1), (1 << width - 1) - 1

    def number() -> int:
        bits = source.randint(1, width - 1)
        return source.choice(
            (
                low,
                high,
                0,
                -1,
                source.randint(low, high),
                source.randint(-(1 << bits), 1 << bits) // 2,
            )
        )

    return [[number() for _ in range(rows)] for _ in range(count)]


def values_of(ctx: Any, view: Any, rows: int) -> Vector:
    return [ctx.get(view[row]) for row in range(rows)]


def drive(
    dut: Any,
    items: Sequence[Any],
    *,
    send: Callable[[Any, Any], None],
    observe: Callable[[Any, int], None],
    gap: Callable[[], int] = lambda: 0,
    after: int = 40,
    setup: Callable[[Any], None] = lambda ctx: None,
    ports: Sequence[Any] = (),
) -> list[int]:
    """Send ``items`` on ``dut.i`` and call ``observe`` in every cycle; the cycles they were sent.

    ``gap`` gives the idle cycles before each item. ``send`` sets the payload (and what else
    belongs to the cycle), ``setup`` the inputs that hold still.
    """
    sent: list[int] = []
    source = ports[0] if ports else dut.i

    async def testbench(ctx):
        setup(ctx)
        await ctx.tick().repeat(3)
        cycle = 0

        async def step():
            nonlocal cycle
            observe(ctx, cycle)
            await ctx.tick()
            cycle += 1

        for item in items:
            ctx.set(source.valid, 0)
            for _ in range(gap()):
                await step()
            send(ctx, item)
            ctx.set(source.valid, 1)
            sent.append(cycle)
            await step()
        ctx.set(source.valid, 0)
        for _ in range(after):
            await step()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return sent
