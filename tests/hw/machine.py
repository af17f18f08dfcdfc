"""The accelerator with external memory in Amaranth's simulator, and a host that drives it."""

from collections.abc import Sequence

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.accelerator import Accelerator
from hw.config import AcceleratorConfig
from hw.isa import INSTRUCTION_FIELDS, INSTRUCTION_WORDS, Opcode, Register, Status, encode
from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES, HostOperation
from hw.memory.external import BlockExternalMemory
from hw.stream import connect_checked

POLLS_MAXIMUM = 5000


class Machine(wiring.Component):
    """Accelerator and external memory, which may stall at random."""

    requests: Out(HOST_REQUESTS.flip())
    responses: Out(HOST_RESPONSES)

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        stall_seed: int | None = None,
        init: Sequence[int] = (),
    ) -> None:
        self.accelerator = Accelerator(config)
        self.external = BlockExternalMemory(
            config.memory.external_words, stall_seed=stall_seed, init=list(init)
        )
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = self.accelerator
        m.submodules.external = self.external
        connect_checked(m, self.accelerator.memory, self.external.port)
        connect_checked(m, wiring.flipped(self.requests), self.accelerator.host_requests)
        connect_checked(m, self.accelerator.host_responses, wiring.flipped(self.responses))
        return m


class Host:
    """Words and registers through a host port."""

    def __init__(self, ctx, requests, responses) -> None:
        self._ctx = ctx
        self._requests = requests
        self._responses = responses

    async def _request(self, operation: HostOperation, address: int, word: int = 0) -> None:
        ctx, port = self._ctx, self._requests
        ctx.set(port.payload.operation, operation)
        ctx.set(port.payload.address, address)
        ctx.set(port.payload.data, word)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def _response(self) -> int:
        ctx, port = self._ctx, self._responses
        ctx.set(port.ready, 1)
        (word,) = await ctx.tick().sample(port.payload.data).until(port.valid)
        ctx.set(port.ready, 0)
        return word

    async def write(self, address: int, words: Sequence[int]) -> None:
        for offset, word in enumerate(words):
            await self._request(HostOperation.WRITE_MEMORY, address + offset, word)

    async def read(self, address: int, count: int) -> list[int]:
        words = []
        for offset in range(count):
            await self._request(HostOperation.READ_MEMORY, address + offset)
            words.append(await self._response())
        return words

    async def write_register(self, register: Register, word: int) -> None:
        await self._request(HostOperation.WRITE_REGISTER, register.value, word)

    async def read_register(self, register: Register, offset: int = 0) -> int:
        await self._request(HostOperation.READ_REGISTER, register.value + offset)
        return await self._response()

    async def run(self, entry: int) -> int:
        """Start and wait; returns the status."""
        await self.write_register(Register.START, entry)
        for _ in range(POLLS_MAXIMUM):
            status = await self.read_register(Register.STATUS)
            if not status & Status.BUSY.value:
                return status
        raise AssertionError(f"run at {entry} must end within {POLLS_MAXIMUM} polls")


def instruction(opcode: Opcode, **fields) -> list[int]:
    """The words of an instruction; fields that are not given are 0."""
    values = {field.name: 0 for field in INSTRUCTION_FIELDS[opcode]} | fields
    return words_of(encode(opcode, values))


def words_of(pattern: int, count: int = INSTRUCTION_WORDS) -> list[int]:
    """``count`` 32-bit words, low word first."""
    return [pattern >> (32 * index) & 0xFFFFFFFF for index in range(count)]
