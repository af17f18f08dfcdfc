import re
from dataclasses import replace
from random import Random

import pytest

from host.framing import Frame
from host.link import RETRIES_MAXIMUM, Client
from host.transport import LinkError, SerialTransport
from hw.link.protocol import PROTOCOL_VERSION, FrameType, LinkIdentity
from tests.host.model_device import IDENTITY, ModelDevice, ModelTransport


def test_hello_returns_the_identity() -> None:
    assert Client(ModelTransport(ModelDevice())).hello() == IDENTITY


def test_hello_refuses_another_protocol_version() -> None:
    device = ModelDevice(replace(IDENTITY, protocol_version=PROTOCOL_VERSION + 1))
    with pytest.raises(LinkError, match=r"^device on model device must have protocol version 1, n"):
        Client(ModelTransport(device)).hello()


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("error_rate", [0.0, 0.02, 0.1])
def test_transfers_are_exact(window: int, error_rate: float) -> None:
    rng = Random(f"{window} {error_rate}")
    transport = ModelTransport(ModelDevice(), rng, error_rate)
    client = Client(transport, window=window)
    words = [rng.choice((0, rng.getrandbits(32))) for _ in range(1500)]
    client.write_memory(1000, words)
    assert transport.device.memory == dict(enumerate(words, 1000))
    assert client.read_memory(1000, len(words)) == words
    assert (client.statistics.repeated > 0) == (error_rate > 0)


def test_2000_frames_over_a_bad_line() -> None:
    """Nothing wrong is ever accepted, and register writes happen exactly once."""
    rng = Random(2000)
    device = ModelDevice()
    client = Client(ModelTransport(device, rng, error_rate=0.05))
    memory: dict[int, int] = {}
    writes: list[tuple[int, int]] = []
    while client.statistics.sent < 2000:
        address = rng.randrange(200)
        match rng.randrange(4):
            case 0:
                words = [rng.getrandbits(32) for _ in range(rng.randrange(1, 200))]
                memory |= dict(enumerate(words, address))
                client.write_memory(address, words)
            case 1:
                count = rng.randrange(1, 200)
                expected = [memory.get(address + offset, 0) for offset in range(count)]
                assert client.read_memory(address, count) == expected
            case 2:
                writes.append((rng.randrange(8), rng.getrandbits(32)))
                client.write_register(*writes[-1])
            case 3:
                register = rng.randrange(8)
                assert client.read_register(register) == dict(writes).get(register, 0)
    assert device.memory == memory
    assert device.register_writes == writes
    assert client.statistics.repeated > 100


def test_lost_acknowledgement_does_not_start_twice() -> None:
    device = ModelDevice()
    transport = ModelTransport(device)
    client = Client(transport)
    client.hello()
    answers = iter([b"", b""])
    transport.to_host.carry = lambda content: next(answers, content) if content else content
    client.write_register(2, 7)
    assert device.register_writes == [(2, 7)]
    assert client.statistics.repeated == 2


def test_silent_device_gives_an_error_that_helps() -> None:
    transport = ModelTransport(ModelDevice())
    client = Client(transport, answer_seconds=0.01)
    client.hello()
    transport.to_device.carry = lambda content: b""
    with pytest.raises(
        LinkError, match=r"^WRITE of 2 words at 0x000040 \(frame 1\) failed on model device after 5"
    ) as failure:
        client.write_memory(0x40, [1, 2])
    assert "check that the board is powered" in str(failure.value)
    assert "3e+06 baud" in str(failure.value)
    # The waits double: 1 + 2 + 4 + 8 + 16 + 32 times the first.
    assert client.statistics.repeated == RETRIES_MAXIMUM
    assert transport.now() >= 0.01 * (2 ** (RETRIES_MAXIMUM + 1) - 1)


def test_garbage_instead_of_answers_does_not_end_the_patience() -> None:
    transport = ModelTransport(ModelDevice())
    client = Client(transport)
    client.hello()
    rng = Random(4)
    noise = iter([rng.randbytes(300) + b"\0" for _ in range(2)])
    transport.to_host.carry = lambda content: next(noise, content)
    client.write_memory(0, [5])
    assert client.read_memory(0, 1) == [5]
    assert client.statistics.damaged >= 1


def test_refusal_is_an_error_at_once() -> None:
    transport = ModelTransport(ModelDevice())
    client = Client(transport)
    client.hello()
    refusal = Frame(FrameType.NACK, 1, reason=5).encode()
    transport.to_host.carry = lambda content: refusal
    with pytest.raises(LinkError, match="^READ of 1 words at 0x000000 was refused by .*BAD_ADDR"):
        client.read_memory(0, 1)
    assert client.statistics.repeated == 0


def test_progress_counts_words() -> None:
    calls: list[tuple[int, int]] = []
    client = Client(ModelTransport(ModelDevice()))
    client.write_memory(0, range(150), lambda done, total: calls.append((done, total)))
    assert calls == [(59, 150), (118, 150), (150, 150)]


def test_empty_transfers_send_nothing() -> None:
    client = Client(ModelTransport(ModelDevice()))
    client.hello()
    client.write_memory(0, [])
    assert client.read_memory(0, 0) == []
    assert client.statistics.sent == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.write_memory(0, [1 << 32]), "word must be 0 to 0xffffffff, not 0x100000000"),
        (lambda c: c.write_memory(0, [-1]), "word must be 0 to 0xffffffff, not -0x1"),
        (lambda c: c.read_memory(1 << 24, 1), "address must be 0 to 0xffffff, not 0x1000000"),
        (lambda c: c.read_memory((1 << 24) - 1, 2), "address must be 0 to 0xfffffe, not 0xffffff"),
        (lambda c: c.read_memory(0, -1), "count must not be negative, not -1"),
        (lambda c: Client(c, window=5), "window must be 1 to 4, not 5"),
    ],
)
def test_arguments_are_checked(call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(Client(ModelTransport(ModelDevice())))


def test_context_manager_closes() -> None:
    transport = ModelTransport(ModelDevice())
    with Client(transport) as client:
        client.hello()
    assert transport.closed


def test_missing_serial_port_is_named() -> None:
    with pytest.raises(LinkError, match="^serial port /dev/ttyNONE cannot be opened: .*ports pres"):
        SerialTransport("/dev/ttyNONE")
    with pytest.raises(LinkError, match="^serial port must have a name; ports present: "):
        SerialTransport("")


def test_identity_is_checked() -> None:
    arguments = {"preset": "x", "fingerprint": 0, "build": 0, "rows": 1, "columns": 1, "lanes": 1}
    with pytest.raises(ValueError, match="^preset must be at most 16 printable ASCII characters"):
        LinkIdentity(**(arguments | {"preset": "x" * 17}))
    with pytest.raises(ValueError, match="^rows must be 0 to 65535, not 65536$"):
        LinkIdentity(**(arguments | {"rows": 65536}))
    with pytest.raises(ValueError, match="^identity must have 8 words, not 3$"):
        LinkIdentity.from_words([1, 2, 3])
