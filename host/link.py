"""Client of the host link: reads and writes of memory and registers that survive a bad line.

Requests go out in frames, several under way at once; a frame that is not answered in time is
repeated. What a call returns, or that it returns at all, is therefore certain: every word was
acknowledged under a CRC-32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from host.framing import Frame, FrameSplitter, encoded_bytes
from host.transport import LinkError, Transport
from hw.link.protocol import (
    ADDRESS_WIDTH,
    PAYLOAD_WORDS_MAXIMUM,
    PROTOCOL_VERSION,
    READ_WORDS_MAXIMUM,
    RECEIVE_SLOTS,
    WRITE_WORDS_MAXIMUM,
    FrameType,
    LinkIdentity,
    NackReason,
)

__all__ = ["Client", "LinkStatistics", "Progress"]

Progress = Callable[[int, int], None]
"""Called with the words done and the words in all."""

ANSWER_SECONDS = 0.1
RETRIES_MAXIMUM = 5
DELIMITER = b"\0"


@dataclass
class LinkStatistics:
    """What the line did to the frames of a client."""

    sent: int = 0
    """Requests, repetitions included."""

    repeated: int = 0
    """Requests that were sent again."""

    damaged: int = 0
    """Answers that arrived damaged, or that belong to no request under way."""


@dataclass(frozen=True)
class _Request:
    """What one frame asks for."""

    kind: FrameType
    count: int = 0
    words: tuple[int, ...] = ()
    reply_words: int = 0

    def frame(self, sequence: int) -> Frame:
        return Frame(self.kind, sequence, self.count, words=self.words)

    def __str__(self) -> str:
        if self.kind in (FrameType.WRITE, FrameType.READ):
            return f"{self.kind.name} of {self.count} words at {self.words[0]:#08x}"
        if self.kind in (FrameType.WRITE_REGISTER, FrameType.READ_REGISTER):
            return f"{self.kind.name} of register {self.words[0]}"
        return self.kind.name


@dataclass
class _Pending:
    """A request under way."""

    request: _Request
    index: int
    deadline: float
    repetitions: int = 0
    causes: list[str] = field(default_factory=list)


class Client:
    """One device at the other end of a transport.

    The first request is preceded by a HELLO, which checks the protocol version. All methods raise
    :class:`LinkError` if a frame stays unanswered after ``RETRIES_MAXIMUM`` repetitions, each
    waited for twice as long as the one before, or if the device refuses it.

    Args:
        transport: Where the device is.
        answer_seconds: Time that the device and the operating system may take to answer, on top of
            the time that the bytes need on the line.
        window: Most requests under way; the device may ask for fewer.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        window: int = RECEIVE_SLOTS,
    ) -> None:
        if not 1 <= window <= RECEIVE_SLOTS:
            raise ValueError(f"window must be 1 to {RECEIVE_SLOTS}, not {window}")
        self.statistics = LinkStatistics()
        self._transport = transport
        self._window = window
        self._splitter = FrameSplitter()
        self._sequence = 0
        self._identity: LinkIdentity | None = None
        line_bytes = 2 * (window + 1) * encoded_bytes(PAYLOAD_WORDS_MAXIMUM)
        self._timeout = answer_seconds + 10 * line_bytes / transport.baud_rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the transport."""
        self._transport.close()

    @property
    def name(self) -> str:
        """How messages call the other end."""
        return self._transport.name

    @property
    def identity(self) -> LinkIdentity:
        """What the device told in answer to HELLO; asks it if it was not asked before."""
        return self._identity if self._identity is not None else self.hello()

    def hello(self) -> LinkIdentity:
        """Ask the device who it is; raises :class:`LinkError` on another protocol version."""
        request = _Request(FrameType.HELLO, reply_words=LinkIdentity.WORDS)
        self._transport.write(DELIMITER)
        ((words),) = self._exchange([request], window=1)
        version = words[0] & 0xFF
        if version != PROTOCOL_VERSION:
            raise LinkError(
                f"device on {self.name} must have protocol version {PROTOCOL_VERSION}, not "
                f"{version}; build the bitstream and install the host software from one release"
            )
        try:
            self._identity = LinkIdentity.from_words(words)
        except ValueError as error:
            raise LinkError(f"device on {self.name} has a malformed identity: {error}") from error
        self._window = max(1, min(self._window, self._identity.slots))
        return self._identity

    def write_memory(
        self, address: int, words: Sequence[int], progress: Progress | None = None
    ) -> None:
        """Write 32-bit ``words`` to external memory from word ``address`` on."""
        values = [int(word) for word in words]
        _check_range(address, len(values))
        for value in values:
            _check_word(value)
        requests = [
            _Request(FrameType.WRITE, count, (address + start, *values[start : start + count]))
            for start, count in _chunks(len(values), WRITE_WORDS_MAXIMUM)
        ]
        self._transfer(requests, progress)

    def read_memory(self, address: int, count: int, progress: Progress | None = None) -> list[int]:
        """The ``count`` 32-bit words of external memory from word ``address`` on."""
        _check_range(address, count)
        requests = [
            _Request(FrameType.READ, length, (address + start,), reply_words=length)
            for start, length in _chunks(count, READ_WORDS_MAXIMUM)
        ]
        return [word for reply in self._transfer(requests, progress) for word in reply]

    def write_register(self, register: int, value: int) -> None:
        """Write a control register. The device executes it once, however often it is repeated."""
        _check_range(register, 1)
        _check_word(value)
        self._transfer([_Request(FrameType.WRITE_REGISTER, 1, (register, value))])

    def read_register(self, register: int) -> int:
        """The value of a control register."""
        _check_range(register, 1)
        request = _Request(FrameType.READ_REGISTER, 1, (register,), reply_words=1)
        return self._transfer([request])[0][0]

    def _transfer(
        self, requests: Sequence[_Request], progress: Progress | None = None
    ) -> list[tuple[int, ...]]:
        """Exchange after HELLO, which makes the device forget the numbers of earlier hosts."""
        _ = self.identity
        return self._exchange(requests, window=self._window, progress=progress)

    def _exchange(
        self, requests: Sequence[_Request], *, window: int, progress: Progress | None = None
    ) -> list[tuple[int, ...]]:
        """Have all requests answered; the data of the answers in the order of the requests."""
        replies: list[tuple[int, ...]] = [()] * len(requests)
        pending: dict[int, _Pending] = {}
        total, done, sent = sum(request.count for request in requests), 0, 0

        while sent < len(requests) or pending:
            while sent < len(requests) and len(pending) < window:
                pending[self._sequence] = _Pending(requests[sent], sent, 0.0)
                self._send(self._sequence, pending[self._sequence])
                self._sequence = (self._sequence + 1) % 256
                sent += 1
            for frame in self._receive(min(entry.deadline for entry in pending.values())):
                finished = self._answer(frame, pending)
                if finished is not None:
                    replies[finished.index] = frame.words
                    done += finished.request.count
                    if progress is not None:
                        progress(done, total)
            for sequence, entry in pending.items():
                if entry.deadline <= self._transport.now():
                    self._repeat(sequence, entry, "no answer")

        return replies

    def _answer(self, frame: Frame, pending: dict[int, _Pending]) -> _Pending | None:
        """Act on an answer; the request that it finishes, if any."""
        entry = pending.get(frame.sequence)
        if entry is None:
            self.statistics.damaged += 1
        elif frame.kind == FrameType.NACK and frame.reason == NackReason.BAD_CRC:
            self._repeat(frame.sequence, entry, "damaged on the way")
        elif frame.kind == FrameType.NACK and frame.reason == NackReason.BUSY:
            # Room comes with time: the repetition after the time-out is the right one.
            entry.causes.append("device busy")
        elif frame.kind == FrameType.NACK:
            raise LinkError(
                f"{entry.request} was refused by the device on {self.name} with "
                f"{_reason_name(frame.reason)}; build the bitstream and install the host software "
                "from one release"
            )
        elif frame.kind == FrameType.ACK and len(frame.words) == entry.request.reply_words:
            return pending.pop(frame.sequence)
        else:
            self.statistics.damaged += 1
        return None

    def _receive(self, deadline: float) -> Iterator[Frame]:
        damaged = self._splitter.damaged
        received = self._transport.read(max(0.0, deadline - self._transport.now()))
        frames = self._splitter.feed(received)
        self.statistics.damaged += self._splitter.damaged - damaged
        return iter(frames)

    def _send(self, sequence: int, entry: _Pending) -> None:
        self.statistics.sent += 1
        entry.deadline = self._transport.now() + self._timeout * (1 << entry.repetitions)
        self._transport.write(entry.request.frame(sequence).encode())

    def _repeat(self, sequence: int, entry: _Pending, cause: str) -> None:
        entry.causes.append(cause)
        if entry.repetitions == RETRIES_MAXIMUM:
            raise LinkError(
                f"{entry.request} (frame {sequence}) failed on {self.name} after "
                f"{RETRIES_MAXIMUM} repetitions ({', '.join(entry.causes)}); check that the board "
                "is powered and configured with this project's bitstream, that the port is the "
                f"board's, and that both ends use {self._transport.baud_rate:g} baud"
            )
        entry.repetitions += 1
        self.statistics.repeated += 1
        # The delimiter ends whatever is left of the damaged frame.
        self._transport.write(DELIMITER)
        self._send(sequence, entry)


def _chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and length of pieces of at most ``size``."""
    for start in range(0, total, size):
        yield start, min(size, total - start)


def _check_range(address: int, count: int) -> None:
    if count < 0:
        raise ValueError(f"count must not be negative, not {count}")
    if not 0 <= address <= (1 << ADDRESS_WIDTH) - max(count, 1):
        raise ValueError(
            f"address must be 0 to {(1 << ADDRESS_WIDTH) - max(count, 1):#x}, not {address:#x}"
        )


def _check_word(value: int) -> None:
    if not 0 <= value < 1 << 32:
        raise ValueError(f"word must be 0 to {(1 << 32) - 1:#x}, not {value:#x}")


def _reason_name(reason: int) -> str:
    try:
        return NackReason(reason).name
    except ValueError:
        return f"reason {reason}"
