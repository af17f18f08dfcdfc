"""An accelerator as the link sees it."""

from random import Random

from amaranth.lib import wiring

from hw.link.host_port import HostOperation
from tests.hw.link.peers import receive


class Accelerator:
    """The other side of the host port: a memory, registers, and the requests in their order."""

    def __init__(self, dut: wiring.Component, rng: Random, activity: float = 1.0) -> None:
        self.memory: dict[int, int] = {}
        self.registers: dict[int, int] = {}
        self.requests: list[tuple[HostOperation, int]] = []
        self._dut, self._rng, self._activity = dut, rng, activity

    async def testbench(self, ctx):
        while True:
            if not ctx.get(self._dut.host_requests.valid):
                # Cheaper than looking in every cycle of a slow line.
                await ctx.posedge(self._dut.host_requests.valid)
            request = await receive(ctx, self._dut.host_requests, self._rng, self._activity)
            operation, address = HostOperation(request.operation), request.address
            self.requests.append((operation, address))
            if operation in (HostOperation.WRITE_MEMORY, HostOperation.READ_MEMORY):
                words = self.memory
            else:
                words = self.registers
            if operation in (HostOperation.WRITE_MEMORY, HostOperation.WRITE_REGISTER):
                words[address] = request.data
                continue
            while self._rng.random() >= self._activity:
                await ctx.tick()
            ctx.set(self._dut.host_responses.payload.data, words.get(address, 0))
            ctx.set(self._dut.host_responses.valid, 1)
            assert ctx.get(self._dut.host_responses.ready) == 1, "responses are taken at once"
            await ctx.tick()
            ctx.set(self._dut.host_responses.valid, 0)
