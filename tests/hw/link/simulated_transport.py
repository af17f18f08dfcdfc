"""A transport of the host software whose other end is the simulated gateware's serial pins."""

from collections import deque
from random import Random

from amaranth.sim import Simulator

from hw.link.link import Link
from hw.link.protocol import LinkIdentity
from tests.hw.link.host_port_peer import Accelerator
from tests.hw.link.peers import CLOCK_PERIOD, CYCLES_PER_SLICE, receive_serial, send_serial

IDENTITY = LinkIdentity(
    preset="tiny", fingerprint=0x12345678, build=0x9ABCDEF0, rows=4, columns=4, lanes=8
)
CYCLES_PER_BIT = 25 / 3
"""3 Mbaud from 25 MHz."""
SILENCE_CYCLES = 2000


class SimulatedTransport:
    """Runs the simulation while it waits for bytes; its clock is that of the simulation.

    ``host_rate_error`` makes the host's end of the line faster than the gateware's.
    """

    name = "simulated pins"

    def __init__(self, host_rate_error: float = 0.0) -> None:
        self.baud_rate = 1 / CLOCK_PERIOD / CYCLES_PER_BIT
        self.accepted = self.rejected = 0
        self._dut = dut = Link(
            IDENTITY,
            clock_frequency=1 / CLOCK_PERIOD,
            baud_rate=self.baud_rate,
            silence_cycles=SILENCE_CYCLES,
        )
        self.accelerator = Accelerator(dut, Random(0), activity=0.5)
        self._bit_seconds = 1 / self.baud_rate / (1 + host_rate_error)
        self._to_device: deque[int] = deque()
        self._to_host = bytearray()
        self._now = 0.0
        self._simulator = Simulator(dut)
        self._simulator.add_clock(CLOCK_PERIOD)
        for testbench in (self._drive, self._listen, self._count, self.accelerator.testbench):
            self._simulator.add_testbench(testbench, background=True)

    async def _drive(self, ctx):
        ctx.set(self._dut.rx, 1)
        while True:
            while not self._to_device:
                await ctx.delay(CYCLES_PER_SLICE * CLOCK_PERIOD)
            byte = bytes([self._to_device.popleft()])
            await send_serial(ctx, self._dut.rx, byte, self._bit_seconds)

    async def _listen(self, ctx):
        while True:
            self._to_host.append(await receive_serial(ctx, self._dut.tx, self._bit_seconds))

    async def _count(self, ctx):
        pulses = ctx.posedge(self._dut.frame_accepted).posedge(self._dut.frame_rejected)
        async for accepted, rejected in pulses:
            self.accepted += accepted
            self.rejected += rejected

    def write(self, data: bytes) -> None:
        self._to_device.extend(data)

    def read(self, timeout: float) -> bytes:
        deadline = self._now + timeout
        while not self._to_host and self._now < deadline:
            self._now += CYCLES_PER_SLICE * CLOCK_PERIOD
            self._simulator.run_until(self._now)
        received = bytes(self._to_host)
        self._to_host.clear()
        return received

    def now(self) -> float:
        return self._now

    def close(self) -> None:
        """Nothing is held open."""
