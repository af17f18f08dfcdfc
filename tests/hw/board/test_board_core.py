"""The whole design of a board, asked by the host software through its serial pins."""

from collections import deque

import pytest
from amaranth.sim import Simulator

from host.driver import Accelerator, AcceleratorError
from host.link import Client
from hw.board.core import BoardCore
from hw.config import preset
from hw.isa import Register, Trap
from tests.hw.link.peers import CLOCK_PERIOD, CYCLES_PER_SLICE, receive_serial, send_serial

CYCLES_PER_BIT = 8
BUILD = 0xC0FFEE11
POWER, BUSY, DONE, TRAPPED, GOOD_FRAME, BAD_FRAME = (1 << bit for bit in range(6))


class Pins:
    """Transport of the host software whose other end is the design's serial pins."""

    name = "simulated pins"

    def __init__(self, core):
        self.baud_rate = 1 / CLOCK_PERIOD / CYCLES_PER_BIT
        self.leds = 0
        self._core = core
        self._to_device, self._to_host, self._now = deque(), bytearray(), 0.0
        self._simulator = Simulator(core)
        self._simulator.add_clock(CLOCK_PERIOD)
        for testbench in (self._drive, self._listen):
            self._simulator.add_testbench(testbench, background=True)

    async def _drive(self, ctx):
        while True:
            while not self._to_device:
                self.leds = ctx.get(self._core.leds)
                await ctx.delay(CYCLES_PER_SLICE * CLOCK_PERIOD)
            byte = bytes([self._to_device.popleft()])
            await send_serial(ctx, self._core.rx, byte, 1 / self.baud_rate)

    async def _listen(self, ctx):
        while True:
            self._to_host.append(await receive_serial(ctx, self._core.tx, 1 / self.baud_rate))

    def write(self, data):
        self._to_device.extend(data)

    def read(self, timeout):
        deadline = self._now + timeout
        while not self._to_host and self._now < deadline:
            self._now += CYCLES_PER_SLICE * CLOCK_PERIOD
            self._simulator.run_until(self._now)
        received = bytes(self._to_host)
        self._to_host.clear()
        return received

    def now(self):
        return self._now

    def close(self):
        """Nothing is held open."""


@pytest.mark.slow
def test_host_identifies_writes_runs_and_sees_the_lamps():
    config = preset("tiny")
    frequency = 1 / CLOCK_PERIOD
    core = BoardCore(
        config, clock_frequency=frequency, baud_rate=frequency / CYCLES_PER_BIT, build=BUILD
    )
    pins = Pins(core)
    client = Client(pins, answer_seconds=5e-3)

    identity = client.hello()
    array = config.array
    assert (identity.preset, identity.fingerprint) == ("tiny", config.fingerprint)
    assert (identity.build, identity.rows, identity.lanes) == (BUILD, array.rows, array.lanes)
    accelerator = Accelerator(client, clock=pins.now)
    assert client.read_register(Register.FINGERPRINT.value) == config.fingerprint

    words = [0x12345678, 0xFFFFFFFF, 0, 1]
    client.write_memory(config.memory.external_words - len(words), words)
    assert client.read_memory(config.memory.external_words - len(words), len(words)) == words
    assert pins.leds == POWER | GOOD_FRAME

    client.write_memory(64, [0] * 8)
    with pytest.raises(AcceleratorError, match="trapped: ILLEGAL_INSTRUCTION at"):
        accelerator.run(64)
    record = accelerator.trap()
    assert (record.cause, record.address) == (Trap.ILLEGAL_INSTRUCTION, 64)
    assert pins.leds & (BUSY | TRAPPED) == TRAPPED

    client.write_memory(64, [7, *[0] * 7])
    accelerator.run(64)
    assert pins.leds & (BUSY | DONE | TRAPPED) == DONE

    wrong_checksum = b"\x15" + bytes(range(1, 21)) + b"\x00"
    pins.write(wrong_checksum)
    while pins.read(3e-3):
        pass
    assert pins.leds & BAD_FRAME
