import re
from random import Random

import pytest

from hw.link.uart import UartReceiver, UartTiming, UartTransmitter
from tests.hw.link.peers import (
    CLOCK_PERIOD,
    count_pulses,
    receive_serial,
    receiver,
    send_serial,
    sender,
    simulate,
)

CYCLES_PER_BIT = (8.0, 25 / 3, 50 / 3, 100 / 3)


def timing_of(cycles_per_bit: float) -> UartTiming:
    return UartTiming(clock_frequency=1 / CLOCK_PERIOD, baud_rate=1 / CLOCK_PERIOD / cycles_per_bit)


def bytes_of(rng: Random, count: int) -> bytes:
    """Random bytes with long runs and alternating bits among them."""
    return bytes(rng.choice((rng.randrange(256), 0x00, 0xFF, 0x55, 0xAA)) for _ in range(count))


@pytest.mark.parametrize("clock_mhz", [25, 48, 50, 60, 100])
@pytest.mark.parametrize("baud_rate", [9600, 115_200, 1e6, 3e6])
def test_rate_error_is_below_one_percent(clock_mhz: float, baud_rate: float) -> None:
    timing = UartTiming(clock_frequency=clock_mhz * 1e6, baud_rate=baud_rate)
    assert abs(timing.rate_error) < 0.01


@pytest.mark.parametrize(
    ("clock", "baud", "message"),
    [
        (1e6, 0, "baud rate must be positive, not 0"),
        (1e6, 2e5, "baud rate must be at most 1/8 of the clock frequency 1e+06, not 200000"),
        (
            1e8,
            150,
            (
                "baud rate must be within 1 % of a multiple of the clock frequency 1e+08 / 1048576,"
                " not 150"
            ),
        ),
    ],
)
def test_timing_refuses_bad_rates(clock: float, baud: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        UartTiming(clock_frequency=clock, baud_rate=baud)


@pytest.mark.parametrize("cycles_per_bit", CYCLES_PER_BIT)
@pytest.mark.parametrize("rate_error", [-0.025, 0.0, 0.025])
def test_receiver_takes_back_to_back_bytes(cycles_per_bit: float, rate_error: float) -> None:
    rng = Random(f"{cycles_per_bit} {rate_error}")
    dut = UartReceiver(timing_of(cycles_per_bit))
    content = bytes_of(rng, 60)
    received: list[int] = []
    counts: dict[str, int] = {}

    async def line(ctx):
        ctx.set(dut.rx, 1)
        await ctx.delay(CLOCK_PERIOD * (20 + rng.random()))
        await send_serial(ctx, dut.rx, content, CLOCK_PERIOD * cycles_per_bit / (1 + rate_error))

    simulate(
        dut,
        line,
        # Pauses, but shorter than a byte.
        receiver(dut.o, received, len(content), rng, activity=0.4),
        background=[
            count_pulses(dut.frame_error, counts, "frame_error"),
            count_pulses(dut.overrun, counts, "overrun"),
        ],
    )
    assert bytes(received) == content
    assert counts == {"frame_error": 0, "overrun": 0}


def test_receiver_ignores_pulses_of_one_cycle() -> None:
    dut = UartReceiver(timing_of(16.0))
    rng = Random(1)
    received: list[int] = []

    async def line(ctx):
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(10)
        for _ in range(5):
            ctx.set(dut.rx, 0)
            await ctx.tick()
            ctx.set(dut.rx, 1)
            await ctx.tick().repeat(rng.randrange(5, 30))
        await ctx.tick().repeat(200)
        assert received == []
        await send_serial(ctx, dut.rx, b"\xa5", 16 * CLOCK_PERIOD)

    simulate(dut, line, receiver(dut.o, received, 1, rng))
    assert received == [0xA5]


def test_receiver_reports_break_once_and_recovers() -> None:
    dut = UartReceiver(timing_of(10.0))
    received: list[int] = []
    counts: dict[str, int] = {}

    async def line(ctx):
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(1000)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)
        await send_serial(ctx, dut.rx, b"\x3c", 10 * CLOCK_PERIOD)

    simulate(
        dut,
        line,
        receiver(dut.o, received, 1, Random(2)),
        background=[count_pulses(dut.frame_error, counts, "frame_error")],
    )
    assert received == [0x3C]
    assert counts["frame_error"] == 1


def test_receiver_drops_the_newer_byte_on_overrun() -> None:
    dut = UartReceiver(timing_of(10.0))
    received: list[int] = []
    counts: dict[str, int] = {}

    async def line(ctx):
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(20)
        await send_serial(ctx, dut.rx, b"\x11\x22\x33", 10 * CLOCK_PERIOD)
        assert ctx.get(dut.o.valid) == 1
        await receiver(dut.o, received, 1, Random(3))(ctx)
        await send_serial(ctx, dut.rx, b"\x44", 10 * CLOCK_PERIOD)
        await receiver(dut.o, received, 2, Random(3))(ctx)

    simulate(dut, line, background=[count_pulses(dut.overrun, counts, "overrun")])
    assert received == [0x11, 0x44]
    assert counts["overrun"] == 2


@pytest.mark.parametrize("cycles_per_bit", CYCLES_PER_BIT)
def test_transmitter_sends_back_to_back(cycles_per_bit: float) -> None:
    rng = Random(str(cycles_per_bit))
    dut = UartTransmitter(timing_of(cycles_per_bit))
    content = bytes_of(rng, 40)
    received: list[int] = []
    taken_at: list[int] = []

    async def line(ctx):
        assert ctx.get(dut.tx) == 1
        while len(received) < len(content):
            received.append(await receive_serial(ctx, dut.tx, CLOCK_PERIOD * cycles_per_bit))

    async def watch_transfers(ctx):
        cycle = 0
        async for _, _, valid, ready in ctx.tick().sample(dut.i.valid, dut.i.ready):
            if valid and ready:
                taken_at.append(cycle)
            cycle += 1

    simulate(dut, line, sender(dut.i, content, rng), background=[watch_transfers])
    assert bytes(received) == content
    for index, cycle in enumerate(taken_at):
        assert abs(cycle - taken_at[0] - 10 * index * cycles_per_bit) <= 1 + index * 0.001


@pytest.mark.parametrize("seed", range(3))
def test_transmitter_with_pauses(seed: int) -> None:
    rng = Random(seed)
    dut = UartTransmitter(timing_of(9.3))
    content = bytes_of(rng, 40)
    received: list[int] = []

    async def line(ctx):
        while len(received) < len(content):
            received.append(await receive_serial(ctx, dut.tx, CLOCK_PERIOD * 9.3))

    simulate(dut, line, sender(dut.i, content, rng, activity=0.02))
    assert bytes(received) == content
