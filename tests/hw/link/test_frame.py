import zlib
from random import Random

import pytest
from amaranth.lib.crc.catalog import CRC32_ETHERNET

from host.framing import Frame
from hw.link.frame import FrameReceiver, FrameTransmitter
from hw.link.protocol import (
    FRAME_BYTES_MAXIMUM,
    PAYLOAD_WORDS_MAXIMUM,
    RECEIVE_SLOTS,
    FrameType,
    NackReason,
)
from tests.hw.link.peers import receive, receiver, sender, simulate

Words = list[int]


def random_frame(rng: Random, sequence: int) -> Frame:
    words = rng.choice((0, 1, 2, rng.randrange(PAYLOAD_WORDS_MAXIMUM), PAYLOAD_WORDS_MAXIMUM))
    return Frame(
        FrameType.WRITE,
        sequence,
        words % 256,
        words=tuple(rng.choice((0, 0xFFFFFFFF, rng.getrandbits(32))) for _ in range(words)),
    )


def body_of(frame: Frame) -> bytes:
    """Header and payload."""
    header = bytes([frame.kind, frame.sequence, frame.count, frame.reason])
    return header + b"".join(word.to_bytes(4, "little") for word in frame.words)


def with_crc(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def symbols_of(content: bytes, *, error: int = 0) -> list[dict[str, int]]:
    symbols = [{"data": byte, "end": 0, "error": 0} for byte in content]
    return [*symbols, {"data": 0, "end": 1, "error": error}]


def words_of(frame: Frame) -> list[tuple[int, int]]:
    """What the receiver offers: data and words that follow."""
    content = body_of(frame)
    words = [int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)]
    return [(word, len(words) - 1 - index) for index, word in enumerate(words)]


@pytest.mark.parametrize("seed", range(20))
def test_gateware_crc_is_zlib_crc(seed: int) -> None:
    content = Random(seed).randbytes(1 + seed * 13)
    assert CRC32_ETHERNET().compute(content) == zlib.crc32(content)


@pytest.mark.parametrize("seed", range(3))
def test_receiver_releases_good_frames(seed: int) -> None:
    rng = Random(seed)
    dut = FrameReceiver()
    frames = [random_frame(rng, sequence) for sequence in range(20)]
    expected = [word for frame in frames for word in words_of(frame)]
    received: list = []
    symbols = [symbol for frame in frames for symbol in symbols_of(with_crc(body_of(frame)))]
    # Slow enough that slots never run out, even for short frames behind a long one.
    simulate(
        dut,
        sender(dut.i, symbols, rng, activity=0.1),
        receiver(dut.frames, received, len(expected), rng, activity=0.7),
    )
    assert [(word.data, word.remaining) for word in received] == expected


def test_receiver_timing() -> None:
    """Nothing before the end of the frame, then a word after two cycles, and every three."""
    dut = FrameReceiver()
    frame = Frame(FrameType.WRITE, 1, 3, words=(1, 2, 3, 4))

    async def testbench(ctx):
        ctx.set(dut.frames.ready, 1)
        for symbol in symbols_of(with_crc(body_of(frame))):
            ctx.set(dut.i.payload, symbol)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready) == 1
            assert ctx.get(dut.frames.valid) == 0
            assert ctx.get(dut.accepted) == symbol["end"]
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for index, (expected, remaining) in enumerate(words_of(frame)):
            for _ in range(2 if index else 1):
                assert ctx.get(dut.frames.valid) == 0
                await ctx.tick()
            assert ctx.get(dut.frames.valid) == 1
            assert ctx.get(dut.frames.payload.data) == expected
            assert ctx.get(dut.frames.payload.remaining) == remaining
            await ctx.tick()

    simulate(dut, testbench)


async def feed(ctx, dut: FrameReceiver, content: bytes, *, error: int = 0) -> tuple[int, int]:
    """Send one frame at full rate; whether it was accepted and rejected."""
    for symbol in symbols_of(content, error=error):
        ctx.set(dut.i.payload, symbol)
        ctx.set(dut.i.valid, 1)
        verdict = ctx.get(dut.accepted), ctx.get(dut.rejected)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
    return verdict


async def drain_frame(ctx, dut: FrameReceiver) -> list[tuple[int, int]]:
    words = []
    while not words or words[-1][1]:
        word = await receive(ctx, dut.frames, Random(0))
        words.append((word.data, word.remaining))
    return words


def test_receiver_refuses_a_flip_of_every_byte() -> None:
    dut = FrameReceiver()
    rng = Random(5)
    frames = [random_frame(rng, 7), Frame(FrameType.HELLO, 9), Frame(FrameType.READ, 3, 5, 0, (8,))]

    async def testbench(ctx):
        for frame in frames:
            content = with_crc(body_of(frame))
            for position in range(len(content)):
                damaged = bytearray(content)
                damaged[position] ^= rng.randrange(1, 256)
                assert await feed(ctx, dut, bytes(damaged)) == (0, 1)
                assert ctx.get(dut.frames.valid) == 0
                reject = await receive(ctx, dut.rejects, rng)
                assert reject.reason == NackReason.BAD_CRC
                assert reject.sequence == damaged[1]
                assert await feed(ctx, dut, content) == (1, 0)
                assert await drain_frame(ctx, dut) == words_of(frame)

    simulate(dut, testbench)


def test_receiver_refuses_other_lengths_and_errors() -> None:
    dut = FrameReceiver()
    good = with_crc(body_of(Frame(FrameType.HELLO, 1)))
    longest = with_crc(bytes(FRAME_BYTES_MAXIMUM - 4))

    async def testbench(ctx):
        assert await feed(ctx, dut, b"") == (0, 0), "an empty frame is none"
        for length in (1, 2, 3, 4, 5):
            assert await feed(ctx, dut, with_crc(bytes(length))[:7]) == (0, 1)
            assert ctx.get(dut.rejects.valid) == 0, "a fragment has no number to answer to"
        for content in (
            with_crc(bytes(5)),
            with_crc(bytes(7)),
            with_crc(bytes(FRAME_BYTES_MAXIMUM)),
            bytes(3000),
        ):
            assert await feed(ctx, dut, content) == (0, 1)
            assert (await receive(ctx, dut.rejects, Random(0))).reason == NackReason.BAD_CRC
        assert await feed(ctx, dut, good, error=1) == (0, 1)
        assert await feed(ctx, dut, longest) == (1, 0)
        assert len(await drain_frame(ctx, dut)) == 1 + PAYLOAD_WORDS_MAXIMUM

    simulate(dut, testbench)


def test_receiver_holds_four_frames_and_reports_the_fifth() -> None:
    dut = FrameReceiver()
    rng = Random(6)
    frames = [random_frame(rng, sequence) for sequence in range(RECEIVE_SLOTS + 1)]

    async def testbench(ctx):
        for frame in frames[:-1]:
            assert await feed(ctx, dut, with_crc(body_of(frame))) == (1, 0)
        assert await feed(ctx, dut, with_crc(body_of(frames[-1]))) == (0, 1)
        reject = await receive(ctx, dut.rejects, rng)
        assert (reject.sequence, reject.reason) == (RECEIVE_SLOTS, NackReason.BUSY)
        for frame in frames[:-1]:
            assert await drain_frame(ctx, dut) == words_of(frame)
        assert await feed(ctx, dut, with_crc(body_of(frames[-1]))) == (1, 0)
        assert await drain_frame(ctx, dut) == words_of(frames[-1])

    simulate(dut, testbench)


@pytest.mark.parametrize(("send_activity", "receive_activity"), [(1, 1), (0.3, 1), (0.5, 0.5)])
def test_transmitter_appends_crc(send_activity: float, receive_activity: float) -> None:
    rng = Random(f"{send_activity} {receive_activity}")
    dut = FrameTransmitter()
    frames = [random_frame(rng, sequence) for sequence in range(12)]
    words = [
        {"data": data, "remaining": remaining}
        for frame in frames
        for data, remaining in words_of(frame)
    ]
    expected = [with_crc(body_of(frame)) for frame in frames]
    received: list = []
    simulate(
        dut,
        sender(dut.i, words, rng, send_activity),
        receiver(dut.o, received, sum(map(len, expected)), rng, receive_activity),
    )
    assert bytes(byte.data for byte in received) == b"".join(expected)
    ends = [index for index, byte in enumerate(received, 1) if byte.last]
    assert ends == [sum(map(len, expected[: i + 1])) for i in range(len(expected))]
