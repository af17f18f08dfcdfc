"""A device in Python at the other end of a transport, and a line that damages what it carries."""

from collections import deque
from random import Random

from host.framing import Frame, FrameSplitter
from hw.link.protocol import (
    ADDRESS_WIDTH,
    READ_WORDS_MAXIMUM,
    RECEIVE_SLOTS,
    WRITE_WORDS_MAXIMUM,
    FrameType,
    LinkIdentity,
    NackReason,
)

IDENTITY = LinkIdentity(
    preset="tiny", fingerprint=0x12345678, build=0x9ABCDEF0, rows=4, columns=4, lanes=8
)


class ModelDevice:
    """What the gateware does with frames, on dictionaries."""

    def __init__(self, identity: LinkIdentity = IDENTITY) -> None:
        self.identity = identity
        self.memory: dict[int, int] = {}
        self.registers: dict[int, int] = {}
        self.register_writes: list[tuple[int, int]] = []
        self._last_sequence: int | None = None
        self._splitter = FrameSplitter()

    def receive(self, content: bytes) -> bytes:
        """The answers to what came over the line."""
        damaged = self._splitter.damaged
        answers = [self._execute(frame).encode() for frame in self._splitter.feed(content)]
        if self._splitter.damaged > damaged:
            answers.append(Frame(FrameType.NACK, 0, reason=NackReason.BAD_CRC).encode())
        return b"".join(answers)

    def _refusal(self, frame: Frame) -> NackReason:
        words = {
            FrameType.HELLO: 0,
            FrameType.WRITE: frame.count + 1,
            FrameType.READ: 1,
            FrameType.WRITE_REGISTER: 2,
            FrameType.READ_REGISTER: 1,
        }.get(frame.kind)
        limit = {FrameType.WRITE: WRITE_WORDS_MAXIMUM, FrameType.READ: READ_WORDS_MAXIMUM}
        if words is None:
            return NackReason.BAD_TYPE
        if frame.kind == FrameType.HELLO:
            return NackReason.NONE if not frame.words else NackReason.BAD_COUNT
        if len(frame.words) != words or not 1 <= frame.count <= limit.get(frame.kind, 1):
            return NackReason.BAD_COUNT
        if frame.words[0] + frame.count > 1 << ADDRESS_WIDTH:
            return NackReason.BAD_ADDRESS
        return NackReason.NONE

    def _execute(self, frame: Frame) -> Frame:
        reason = self._refusal(frame)
        if reason != NackReason.NONE:
            return Frame(FrameType.NACK, frame.sequence, reason=reason)
        is_repetition = frame.sequence == self._last_sequence
        self._last_sequence = frame.sequence
        data: tuple[int, ...] = ()
        if frame.kind == FrameType.HELLO:
            data = self.identity.to_words()
        elif frame.kind == FrameType.WRITE:
            self.memory |= dict(enumerate(frame.words[1:], frame.words[0]))
        elif frame.kind == FrameType.READ:
            data = tuple(self.memory.get(frame.words[0] + i, 0) for i in range(frame.count))
        elif frame.kind == FrameType.READ_REGISTER:
            data = (self.registers.get(frame.words[0], 0),)
        elif not is_repetition:
            self.write_register(*frame.words)
        return Frame(FrameType.ACK, frame.sequence, len(data), words=data)

    def write_register(self, register: int, value: int) -> None:
        self.register_writes.append((register, value))
        self.registers[register] = value


class Line:
    """Damages frames: a share ``error_rate`` of the writes loses, changes or gains a byte."""

    def __init__(self, rng: Random, error_rate: float) -> None:
        self.damaged = 0
        self._rng, self._error_rate = rng, error_rate

    def carry(self, content: bytes) -> bytes:
        if not content or self._rng.random() >= self._error_rate:
            return content
        self.damaged += 1
        carried = bytearray(content)
        position = self._rng.randrange(len(carried))
        match self._rng.randrange(5):
            case 0:
                carried[position] ^= 1 << self._rng.randrange(8)
            case 1:
                del carried[position]
            case 2:
                carried[position:position] = self._rng.randbytes(self._rng.randrange(1, 20))
            case 3:
                del carried[position : position + self._rng.randrange(1, 50)]
            case 4:
                carried.clear()
        return bytes(carried)


class ModelTransport:
    """A transport whose clock runs only while it is waited for."""

    name = "model device"
    baud_rate = 3e6

    def __init__(
        self, device: ModelDevice, rng: Random | None = None, error_rate: float = 0.0
    ) -> None:
        rng = rng or Random(0)
        self.device = device
        self.to_device, self.to_host = Line(rng, error_rate), Line(rng, error_rate)
        self.in_flight: deque[bytes] = deque()
        self.closed = False
        self._now = 0.0

    def write(self, data: bytes) -> None:
        self.in_flight.append(self.to_device.carry(data))
        frames = sum(len(content) > 1 for content in self.in_flight)
        assert frames <= 2 * RECEIVE_SLOTS, "the host must keep to its window and one repetition"

    def read(self, timeout: float) -> bytes:
        while self.in_flight:
            received = self.to_host.carry(self.device.receive(self.in_flight.popleft()))
            if received:
                return received
        self._now += timeout
        return b""

    def now(self) -> float:
        return self._now

    def close(self) -> None:
        self.closed = True
