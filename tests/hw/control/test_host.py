"""Host requests on memory and registers, against a model."""

from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.control.host import HostAccess, RegisterPortSignature
from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES, HostOperation
from hw.memory.external import BlockExternalMemory
from hw.stream import connect_checked
from tests.hw.link.peers import receiver, sender, simulate

WORDS = 64


class Bench(wiring.Component):
    requests: Out(HOST_REQUESTS.flip())
    responses: Out(HOST_RESPONSES)
    registers: Out(RegisterPortSignature())

    def __init__(self, stall_seed: int | None) -> None:
        self.external = BlockExternalMemory(WORDS, stall_seed=stall_seed)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = HostAccess()
        m.submodules.external = self.external
        connect_checked(m, wiring.flipped(self.requests), host.requests)
        connect_checked(m, host.responses, wiring.flipped(self.responses))
        connect_checked(m, host.registers, wiring.flipped(self.registers))
        connect_checked(m, host.memory, self.external.port)
        return m


def registers_peer(dut: Bench, registers: list[int]):
    """Registers that answer one cycle after the address, as ``RunControl`` does."""
    port = dut.registers

    async def testbench(ctx):
        async for _, _, address, write, word in ctx.tick().sample(
            port.address, port.write, port.write_data
        ):
            if write:
                registers[address] = word
            ctx.set(port.read_data, registers[address])

    return testbench


@pytest.mark.parametrize("activity", [(1.0, 1.0), (0.4, 1.0), (1.0, 0.3)])
@pytest.mark.parametrize("stall_seed", [None, 3])
def test_requests_take_effect_in_order(
    activity: tuple[float, float], stall_seed: int | None
) -> None:
    rng = Random(f"{activity} {stall_seed}")
    dut = Bench(stall_seed)
    memory: dict[int, int] = {}
    registers: dict[int, int] = {}
    requests, expected = [], []
    for _ in range(150):
        operation = rng.choice(list(HostOperation))
        is_memory = operation in (HostOperation.WRITE_MEMORY, HostOperation.READ_MEMORY)
        # Some accesses are beyond the memory, or beyond the 256 registers.
        address = rng.choice((rng.randrange(12), rng.randrange(12), (1 << 23) + 7))
        inside = address < (WORDS if is_memory else 256)
        model = memory if is_memory else registers
        word = rng.getrandbits(32)
        requests.append({"operation": operation, "address": address, "data": word})
        if operation in (HostOperation.READ_MEMORY, HostOperation.READ_REGISTER):
            expected.append(model.get(address, 0))
        elif inside:
            model[address] = word
    received: list = []
    simulate(
        dut,
        sender(dut.requests, requests, rng, activity[0]),
        receiver(dut.responses, received, len(expected), rng, activity[1]),
        background=[registers_peer(dut, [0] * 256)],
        cycles_maximum=20_000,
    )
    assert [response.data for response in received] == expected
