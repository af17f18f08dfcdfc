"""Testbenches that stand at the ports of the link's blocks, with random pauses on either side."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from amaranth.lib import wiring
from amaranth.sim import Simulator

CLOCK_PERIOD = 1e-6
CYCLES_MAXIMUM = 200_000
CYCLES_PER_SLICE = 20


def simulate(
    dut: wiring.Component,
    *testbenches: Callable[..., Any],
    background: Sequence[Callable[..., Any]] = (),
    cycles_maximum: int = CYCLES_MAXIMUM,
) -> None:
    """Run until all ``testbenches`` have returned; fail after ``cycles_maximum``."""

    running = len(testbenches)

    def counted(testbench):
        async def run(ctx):
            nonlocal running
            await testbench(ctx)
            running -= 1

        return run

    sim = Simulator(dut)
    sim.add_clock(CLOCK_PERIOD)
    for testbench in testbenches:
        sim.add_testbench(counted(testbench))
    for testbench in background:
        sim.add_testbench(testbench, background=True)
    # Short slices of time end the run soon after the last testbench.
    for cycle in range(0, cycles_maximum, CYCLES_PER_SLICE):
        if not running:
            return
        sim.run_until((cycle + CYCLES_PER_SLICE) * CLOCK_PERIOD)
    raise AssertionError(f"testbenches must end within {cycles_maximum} cycles")


def sender(port, items: Sequence[Any], rng: Random, activity: float = 1.0):
    """A testbench that sends ``items``, offering one in a share ``activity`` of idle cycles."""

    async def testbench(ctx):
        for item in items:
            while rng.random() >= activity:
                await ctx.tick()
            ctx.set(port.payload, item)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    return testbench


async def receive(ctx, port, rng: Random, activity: float = 1.0):
    """One payload, after checking that it stood still while it was offered."""
    offered = None
    while True:
        is_ready = rng.random() < activity
        ctx.set(port.ready, is_ready)
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        if offered is not None:
            assert valid, "valid must hold until the transfer"
            assert payload == offered, "the payload must hold until the transfer"
        if valid and is_ready:
            ctx.set(port.ready, 0)
            return payload
        offered = payload if valid else None


def receiver(port, received: list[Any], count: int, rng: Random, activity: float = 1.0):
    """A testbench that appends ``count`` payloads to ``received``."""

    async def testbench(ctx):
        while len(received) < count:
            received.append(await receive(ctx, port, rng, activity))

    return testbench


def count_pulses(signal, counts: dict[str, int], name: str):
    """A background testbench that counts the cycles in which ``signal`` is 1."""
    counts[name] = 0

    async def testbench(ctx):
        async for _, _, value in ctx.tick().sample(signal):
            counts[name] += value

    return testbench


async def send_serial(ctx, pin, content: bytes, bit_seconds: float, stop_bits: float = 1.0):
    """Drive ``pin`` with ``content``, back to back if ``stop_bits`` is 1."""
    for byte in content:
        for bit in (0, *((byte >> position) & 1 for position in range(8))):
            ctx.set(pin, bit)
            await ctx.delay(bit_seconds)
        ctx.set(pin, 1)
        await ctx.delay(stop_bits * bit_seconds)


async def receive_serial(ctx, pin, bit_seconds: float) -> int:
    """One byte from ``pin``; checks its stop bit and returns in the middle of it."""
    if ctx.get(pin):
        await ctx.negedge(pin)
    await ctx.delay(bit_seconds / 2)
    assert ctx.get(pin) == 0, "a start bit must last"
    byte = 0
    for position in range(8):
        await ctx.delay(bit_seconds)
        byte |= ctx.get(pin) << position
    await ctx.delay(bit_seconds)
    assert ctx.get(pin) == 1, "a stop bit must be 1"
    return byte
