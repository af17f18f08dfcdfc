"""The host software against the gateware, through the serial pins of a simulated link."""

from random import Random

import pytest

from host.framing import encoded_bytes
from host.link import Client
from hw.link.protocol import READ_WORDS_MAXIMUM, WRITE_WORDS_MAXIMUM
from tests.hw.link.simulated_transport import IDENTITY, SimulatedTransport

ANSWER_SECONDS = 5e-3


def test_client_reads_what_it_wrote() -> None:
    rng = Random(3)
    transport = SimulatedTransport()
    client = Client(transport, answer_seconds=ANSWER_SECONDS)
    assert client.hello() == IDENTITY
    words = [rng.choice((0, rng.getrandbits(32))) for _ in range(150)]
    client.write_memory(0x123456, words)
    assert transport.accelerator.memory == dict(enumerate(words, 0x123456))
    assert client.read_memory(0x123456, len(words)) == words
    client.write_register(4, 0xDEADBEEF)
    assert client.read_register(4) == 0xDEADBEEF
    assert client.statistics.repeated == 0
    assert transport.rejected == 0


def test_client_gets_through_damage() -> None:
    """Every third frame is damaged in its payload, so that a NACK asks for its repetition."""
    rng = Random(4)
    transport = SimulatedTransport()
    client = Client(transport, answer_seconds=ANSWER_SECONDS)
    client.hello()
    send = transport.write
    frames = 0

    def send_damaged(content: bytes) -> None:
        nonlocal frames
        frames += len(content) > 1
        if len(content) > 1 and frames % 3 == 0:
            damaged = bytearray(content)
            damaged[-5] = damaged[-5] % 255 + 1
            content = bytes(damaged)
        send(content)

    transport.write = send_damaged
    words = [rng.getrandbits(32) for _ in range(200)]
    client.write_memory(0, words)
    assert client.read_memory(0, 60) == words[:60]
    assert transport.accelerator.memory == dict(enumerate(words))
    assert client.statistics.repeated == transport.rejected == 2


@pytest.mark.parametrize("direction", ["write", "read"])
def test_throughput(direction: str) -> None:
    """Five frames use the share of the line that the format leaves, but for the last answer."""
    transport = SimulatedTransport()
    client = Client(transport, answer_seconds=ANSWER_SECONDS)
    client.hello()
    frames = 5
    start = transport.now()
    if direction == "write":
        words = frames * WRITE_WORDS_MAXIMUM
        client.write_memory(0, range(words))
        payload_share = 4 * WRITE_WORDS_MAXIMUM / encoded_bytes(WRITE_WORDS_MAXIMUM + 1)
    else:
        words = frames * READ_WORDS_MAXIMUM
        client.read_memory(0, words)
        payload_share = 4 * READ_WORDS_MAXIMUM / encoded_bytes(READ_WORDS_MAXIMUM)
    line_share = 4 * words / ((transport.now() - start) * transport.baud_rate / 10)
    assert payload_share - 0.06 < line_share < payload_share, f"{line_share:.4f} of the line"
