from random import Random

import pytest

from host.framing import cobs_encode
from hw.link.cobs import CobsDecoder, CobsEncoder
from tests.hw.link.peers import receiver, sender, simulate

ACTIVITIES = [(1.0, 1.0), (0.3, 1.0), (1.0, 0.3), (0.5, 0.5)]


def frames_of(rng: Random, count: int) -> list[bytes]:
    """Frames of 1 to 600 bytes, rich in zeros or without any, with the block sizes in between."""
    frames = []
    for _ in range(count):
        length = rng.choice((1, 2, rng.randrange(1, 60), 253, 254, 255, 256, 508, 509, 600))
        zeros = rng.choice((0.0, 0.02, 0.5, 1.0))
        frames.append(
            bytes(0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(length))
        )
    return frames


@pytest.mark.parametrize(("send_activity", "receive_activity"), ACTIVITIES)
def test_encoder_equals_host(send_activity: float, receive_activity: float) -> None:
    rng = Random(f"{send_activity} {receive_activity}")
    dut = CobsEncoder()
    frames = frames_of(rng, 25)
    expected = b"".join(cobs_encode(frame) + b"\0" for frame in frames)
    received: list[int] = []
    symbols = [
        {"data": byte, "last": index == len(frame) - 1}
        for frame in frames
        for index, byte in enumerate(frame)
    ]
    simulate(
        dut,
        sender(dut.i, symbols, rng, send_activity),
        receiver(dut.o, received, len(expected), rng, receive_activity),
    )
    assert bytes(received) == expected


@pytest.mark.parametrize(("send_activity", "receive_activity"), ACTIVITIES)
def test_decoder_restores_frames(send_activity: float, receive_activity: float) -> None:
    rng = Random(f"{send_activity} {receive_activity}")
    dut = CobsDecoder()
    frames = frames_of(rng, 25)
    line = b"".join(cobs_encode(frame) + b"\0" for frame in frames)
    received: list = []
    simulate(
        dut,
        sender(dut.i, line, rng, send_activity),
        receiver(dut.o, received, sum(len(f) + 1 for f in frames), rng, receive_activity),
    )
    decoded, frame = [], bytearray()
    for symbol in received:
        assert not symbol.error
        if symbol.end:
            decoded.append(bytes(frame))
            frame.clear()
        else:
            frame.append(symbol.data)
    assert decoded == frames


def test_decoder_marks_truncated_pieces_and_empty_frames() -> None:
    dut = CobsDecoder()
    received: list = []
    line = b"\0" + b"\x05\x11\x22\0" + b"\0" + b"\x03\x11\x22\0"
    simulate(
        dut,
        sender(dut.i, line, Random(0)),
        receiver(dut.o, received, 8, Random(0)),
    )
    ends = [bool(symbol.error) for symbol in received if symbol.end]
    assert ends == [False, True, False, False]
    assert [symbol.data for symbol in received if not symbol.end] == [0x11, 0x22, 0x11, 0x22]


@pytest.mark.parametrize("length", [1, 17, 248])
def test_encoder_cycles(length: int) -> None:
    """A piece of n bytes takes 2 n + 1 cycles, the delimiter one more."""
    dut = CobsEncoder()
    symbols = [{"data": 1, "last": index == length - 1} for index in range(length)]
    received: list[int] = []
    cycle = 0
    finished_at = None

    async def count_cycles(ctx):
        nonlocal cycle
        async for _ in ctx.tick():
            cycle += 1

    async def take_all(ctx):
        nonlocal finished_at
        await receiver(dut.o, received, length + 2, Random(0))(ctx)
        finished_at = cycle

    simulate(dut, sender(dut.i, symbols, Random(0)), take_all, background=[count_cycles])
    assert finished_at in (2 * length + 1, 2 * length + 2), "count_cycles may run before or after"
