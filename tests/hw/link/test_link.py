from random import Random

import pytest

from host.framing import Frame, FrameSplitter
from hw.link.host_port import HostOperation
from hw.link.protocol import FrameType, LinkIdentity, NackReason
from tests.hw.link.peers import CLOCK_PERIOD
from tests.hw.link.simulated_transport import IDENTITY, SILENCE_CYCLES, SimulatedTransport

HELLO_SECONDS = 12_000 * CLOCK_PERIOD
"""Longer than a HELLO and its answer take on the line, and than the silence time-out."""


def answers_to(transport: SimulatedTransport, content: bytes, count: int) -> list[Frame]:
    """The first ``count`` answers, or as many as come before a long pause."""
    transport.write(content)
    splitter, answers = FrameSplitter(), []
    while len(answers) < count:
        received = transport.read(HELLO_SECONDS)
        if not received:
            break
        answers += splitter.feed(received)
    assert splitter.damaged == 0
    return answers


def register_write(sequence: int, value: int) -> bytes:
    return Frame(FrameType.WRITE_REGISTER, sequence, 1, words=(3, value)).encode()


def assert_alive(transport: SimulatedTransport, sequence: int) -> None:
    (answer,) = answers_to(transport, Frame(FrameType.HELLO, sequence).encode(), 1)
    assert (answer.kind, answer.sequence) == (FrameType.ACK, sequence)
    assert LinkIdentity.from_words(answer.words) == IDENTITY


def test_damaged_frames_are_refused_and_the_next_frame_accepted() -> None:
    transport = SimulatedTransport()
    rng = Random(1)
    positions = range(0, len(register_write(0, 0)) - 1, 3)
    for done, position in enumerate(positions, 1):
        damaged = bytearray(register_write(position, rng.getrandbits(32)))
        damaged[position] ^= rng.randrange(1, 256)
        good = register_write(100 + position, position)
        answers = answers_to(transport, bytes(damaged) + good, 3)
        assert answers[-1] == Frame(FrameType.ACK, 100 + position)
        assert all(answer.reason == NackReason.BAD_CRC for answer in answers[:-1])
        assert transport.accelerator.registers == {3: position}
        assert transport.accepted == done
    assert transport.rejected >= len(positions)


@pytest.mark.parametrize("missing", [1, 4, 11])
def test_truncated_frame_is_given_up_after_silence(missing: int) -> None:
    """Without the delimiter alone, silence completes the frame: its CRC says that it is whole."""
    transport = SimulatedTransport()
    answers = answers_to(transport, register_write(5, 6)[:-missing], 1)
    if missing == 1:
        assert answers == [Frame(FrameType.ACK, 5)]
    else:
        assert transport.accelerator.requests == []
        assert all(answer.reason == NackReason.BAD_CRC for answer in answers)
        assert transport.rejected == 1
    assert_alive(transport, 6)
    assert transport.now() >= SILENCE_CYCLES * CLOCK_PERIOD


@pytest.mark.parametrize(
    "flood",
    [b"\x00" * 300, b"\xff" * 700, b"\x55" * 300, b"\x02\x01" * 200, Random(2).randbytes(800)],
    ids=["zeros", "ones", "alternating", "short", "random"],
)
def test_floods_execute_nothing_and_leave_the_link_alive(flood: bytes) -> None:
    transport = SimulatedTransport()
    transport.write(flood)
    end = transport.now() + 10 * len(flood) / transport.baud_rate + HELLO_SECONDS
    while transport.now() < end:
        transport.read(end - transport.now())
    assert transport.accelerator.requests == []
    assert transport.accepted == 0
    assert_alive(transport, 9)


def test_repetition_after_a_lost_acknowledgement_is_harmless() -> None:
    transport = SimulatedTransport()
    answers = answers_to(transport, register_write(5, 1) * 3 + register_write(6, 2), 4)
    assert answers == [Frame(FrameType.ACK, sequence) for sequence in (5, 5, 5, 6)]
    assert transport.accelerator.requests == 2 * [(HostOperation.WRITE_REGISTER, 3)]


@pytest.mark.parametrize("host_rate_error", [-0.025, 0.025])
def test_full_duplex_back_to_back(host_rate_error: float) -> None:
    """Frames keep coming in while answers go out, at either end of the rate tolerance."""
    transport = SimulatedTransport(host_rate_error)
    requests = b"".join(Frame(FrameType.READ, n, 1, words=(n,)).encode() for n in range(20))
    answers = answers_to(transport, requests, 20)
    assert answers == [Frame(FrameType.ACK, n, 1, words=(0,)) for n in range(20)]
