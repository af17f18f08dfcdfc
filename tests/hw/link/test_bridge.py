from random import Random

import pytest

from hw.link.bridge import LinkBridge
from hw.link.host_port import HostOperation
from hw.link.protocol import FrameType, LinkIdentity, NackReason
from tests.hw.link.host_port_peer import Accelerator
from tests.hw.link.peers import receive, simulate

IDENTITY = LinkIdentity(
    preset="tiny", fingerprint=0x12345678, build=0x9ABCDEF0, rows=4, columns=4, lanes=8
)


async def exchange(
    ctx, dut: LinkBridge, rng: Random, kind: int, sequence: int, count: int = 0, *words: int
) -> tuple[int, int, int, list[int]]:
    """Send a frame; kind, sequence, reason and data of the answer."""
    frame = [kind | sequence << 8 | count << 16, *words]
    for index, word in enumerate(frame):
        ctx.set(dut.frames.payload, {"data": word, "remaining": len(frame) - 1 - index})
        ctx.set(dut.frames.valid, 1)
        await ctx.tick().until(dut.frames.ready)
        ctx.set(dut.frames.valid, 0)
        for _ in range(rng.randrange(3)):
            await ctx.tick()
    return await answer_of(ctx, dut, rng)


async def answer_of(ctx, dut: LinkBridge, rng: Random) -> tuple[int, int, int, list[int]]:
    received = [await receive(ctx, dut.replies, rng, 0.5)]
    while received[-1].remaining:
        received.append(await receive(ctx, dut.replies, rng, 0.5))
    assert [word.remaining for word in received] == list(reversed(range(len(received))))
    header = received[0].data
    assert header >> 16 & 0xFF == len(received) - 1
    data = [word.data for word in received[1:]]
    return header & 0xFF, header >> 8 & 0xFF, header >> 24, data


def run(testbench, *, seed: int = 0, activity: float = 1.0) -> Accelerator:
    rng = Random(seed)
    dut = LinkBridge(IDENTITY)
    accelerator = Accelerator(dut, rng, activity)

    async def bound(ctx):
        await testbench(ctx, dut, rng, accelerator)

    simulate(dut, bound, background=[accelerator.testbench])
    return accelerator


def test_hello_tells_the_identity() -> None:
    async def testbench(ctx, dut, rng, accelerator):
        kind, sequence, reason, data = await exchange(ctx, dut, rng, FrameType.HELLO, 77)
        assert (kind, sequence, reason) == (FrameType.ACK, 77, 0)
        assert LinkIdentity.from_words(data) == IDENTITY

    run(testbench)


@pytest.mark.parametrize("activity", [1.0, 0.3])
@pytest.mark.parametrize("seed", range(2))
def test_reads_return_what_writes_wrote(seed: int, activity: float) -> None:
    async def testbench(ctx, dut, rng, accelerator):
        reference: dict[int, int] = {}
        for sequence in range(30):
            address = rng.choice((0, rng.randrange(100), (1 << 24) - 60))
            if rng.random() < 0.5:
                words = [rng.getrandbits(32) for _ in range(rng.choice((1, 2, 59)))]
                reference |= {address + offset: word for offset, word in enumerate(words)}
                answer = await exchange(
                    ctx, dut, rng, FrameType.WRITE, sequence, len(words), address, *words
                )
                assert answer == (FrameType.ACK, sequence, 0, [])
                assert accelerator.memory == reference, "an ACK follows the last write"
            else:
                count = rng.choice((1, 3, 60))
                expected = [reference.get(address + offset, 0) for offset in range(count)]
                answer = await exchange(ctx, dut, rng, FrameType.READ, sequence, count, address)
                assert answer == (FrameType.ACK, sequence, 0, expected)

    run(testbench, seed=seed, activity=activity)


def test_registers_are_apart_from_memory() -> None:
    async def testbench(ctx, dut, rng, accelerator):
        await exchange(ctx, dut, rng, FrameType.WRITE, 1, 1, 5, 111)
        await exchange(ctx, dut, rng, FrameType.WRITE_REGISTER, 2, 1, 5, 222)
        answer = await exchange(ctx, dut, rng, FrameType.READ_REGISTER, 3, 1, 5)
        assert answer == (FrameType.ACK, 3, 0, [222])

    accelerator = run(testbench)
    assert accelerator.requests == [
        (HostOperation.WRITE_MEMORY, 5),
        (HostOperation.WRITE_REGISTER, 5),
        (HostOperation.READ_REGISTER, 5),
    ]


def test_repeated_register_write_is_executed_once() -> None:
    async def testbench(ctx, dut, rng, accelerator):
        await exchange(ctx, dut, rng, FrameType.HELLO, 0)
        for sequence in (1, 1, 1, 2, 2):
            answer = await exchange(ctx, dut, rng, FrameType.WRITE_REGISTER, sequence, 1, 2, 9)
            assert answer == (FrameType.ACK, sequence, 0, [])
        assert len(accelerator.requests) == 2
        # A new host starts counting anew; its HELLO ends the memory of the old one's number.
        await exchange(ctx, dut, rng, FrameType.HELLO, 1)
        await exchange(ctx, dut, rng, FrameType.WRITE_REGISTER, 2, 1, 2, 9)
        assert len(accelerator.requests) == 3

    run(testbench)


REFUSALS = [
    (0, 0, (), NackReason.BAD_TYPE),
    (FrameType.ACK, 0, (), NackReason.BAD_TYPE),
    (FrameType.NACK, 0, (), NackReason.BAD_TYPE),
    (255, 3, (1, 2, 3), NackReason.BAD_TYPE),
    (FrameType.HELLO, 0, (1,), NackReason.BAD_COUNT),
    (FrameType.WRITE, 0, (1,), NackReason.BAD_COUNT),
    (FrameType.WRITE, 2, (1, 2), NackReason.BAD_COUNT),
    (FrameType.WRITE, 1, (1, 2, 3), NackReason.BAD_COUNT),
    (FrameType.READ, 0, (1,), NackReason.BAD_COUNT),
    (FrameType.READ, 61, (1,), NackReason.BAD_COUNT),
    (FrameType.READ, 1, (1, 2), NackReason.BAD_COUNT),
    (FrameType.READ, 1, (), NackReason.BAD_COUNT),
    (FrameType.WRITE_REGISTER, 2, (1, 2), NackReason.BAD_COUNT),
    (FrameType.WRITE_REGISTER, 1, (1,), NackReason.BAD_COUNT),
    (FrameType.READ_REGISTER, 2, (1,), NackReason.BAD_COUNT),
    (FrameType.READ, 1, (1 << 24,), NackReason.BAD_ADDRESS),
    (FrameType.READ, 1, (0xFFFFFFFF,), NackReason.BAD_ADDRESS),
    (FrameType.READ, 2, ((1 << 24) - 1,), NackReason.BAD_ADDRESS),
    (FrameType.WRITE, 2, ((1 << 24) - 1, 1, 2), NackReason.BAD_ADDRESS),
    (FrameType.WRITE_REGISTER, 1, (1 << 31, 2), NackReason.BAD_ADDRESS),
]


def test_refused_frames_execute_nothing_and_leave_no_trace() -> None:
    async def testbench(ctx, dut, rng, accelerator):
        for kind, count, words, expected in REFUSALS:
            answer = await exchange(ctx, dut, rng, kind, 9, count, *words)
            assert answer == (FrameType.NACK, 9, expected, []), (kind, count, words)
            assert accelerator.requests == []
        answer = await exchange(ctx, dut, rng, FrameType.READ_REGISTER, 9, 1, 0)
        assert answer == (FrameType.ACK, 9, 0, [0])

    run(testbench)


@pytest.mark.parametrize("reason", [NackReason.BAD_CRC, NackReason.BUSY])
def test_rejected_frames_are_answered_before_good_ones(reason: NackReason) -> None:
    async def testbench(ctx, dut, rng, accelerator):
        ctx.set(dut.rejects.payload, {"sequence": 200, "reason": reason})
        ctx.set(dut.rejects.valid, 1)
        ctx.set(dut.frames.payload, {"data": FrameType.HELLO | 3 << 8, "remaining": 0})
        ctx.set(dut.frames.valid, 1)
        await ctx.tick().until(dut.rejects.ready)
        ctx.set(dut.rejects.valid, 0)
        assert await answer_of(ctx, dut, rng) == (FrameType.NACK, 200, reason, [])
        await ctx.tick().until(dut.frames.ready)
        ctx.set(dut.frames.valid, 0)
        kind, sequence, *_ = await answer_of(ctx, dut, rng)
        assert (kind, sequence) == (FrameType.ACK, 3)

    run(testbench)
