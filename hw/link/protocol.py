"""What is on the wire: frame format, frame types, sizes. Plain Python for gateware and host.

A frame is ``COBS(header, payload words, CRC-32) 0x00``. Every part is a little-endian 32-bit word:

    header          frame type | sequence number << 8 | count << 16 | reason << 24
    payload words   see ``FrameType``
    CRC-32          of all bytes before it, as ``zlib.crc32`` computes it

The zero byte appears nowhere but at the end of a frame, so a receiver finds the next frame after
any disturbance. With at most 248 bytes under it, CRC-32 detects every error of up to four bits.

The host numbers its requests and repeats one, with the same number, when no answer comes. The
device answers each request that passed its CRC with one ACK or NACK of the same number, and
executes nothing before. Memory accesses and register reads may be executed twice without harm.
A WRITE_REGISTER may not (it may start a run), so the device executes one only if its number
differs from that of the frame executed last, and only acknowledges the repetition.

A frame that fails its CRC but is long enough to be a request is answered by NACK(BAD_CRC) with
the sequence number as received. That number cannot be trusted: the host takes the NACK as a hint
to repeat now rather than after its time-out. Shorter fragments are dropped in silence.
"""

import enum
import struct
from dataclasses import dataclass

__all__ = [
    "ADDRESS_WIDTH",
    "FRAME_BYTES_MAXIMUM",
    "FRAME_BYTES_MINIMUM",
    "PAYLOAD_WORDS_MAXIMUM",
    "PROTOCOL_VERSION",
    "READ_WORDS_MAXIMUM",
    "RECEIVE_SLOTS",
    "WRITE_WORDS_MAXIMUM",
    "FrameType",
    "LinkIdentity",
    "NackReason",
]

PROTOCOL_VERSION = 1

PAYLOAD_WORDS_MAXIMUM = 60
"""Words between header and CRC: 240 bytes."""

READ_WORDS_MAXIMUM = PAYLOAD_WORDS_MAXIMUM
WRITE_WORDS_MAXIMUM = PAYLOAD_WORDS_MAXIMUM - 1
"""One word less than a read: the address takes one."""

FRAME_BYTES_MINIMUM = 8
"""Header and CRC, before COBS."""

FRAME_BYTES_MAXIMUM = FRAME_BYTES_MINIMUM + 4 * PAYLOAD_WORDS_MAXIMUM
"""Before COBS, which adds one byte up to a length of 254; then comes the zero byte."""

RECEIVE_SLOTS = 4
"""Frames that the device buffers: the most that the host may have under way."""

ADDRESS_WIDTH = 24


class FrameType(enum.IntEnum):
    """First byte of a frame. Types below ACK are requests, all others are answers."""

    HELLO = 1
    """No payload. ACK carries ``LinkIdentity``."""
    WRITE = 2
    """Address, ``count`` words for the addresses from there on."""
    READ = 3
    """Address. ACK carries ``count`` words from there on."""
    WRITE_REGISTER = 4
    """Register number, value; ``count`` is 1."""
    READ_REGISTER = 5
    """Register number; ``count`` is 1. ACK carries the value."""
    ACK = 6
    """``count`` words of data; 0 for writes."""
    NACK = 7
    """No payload; ``reason`` is a ``NackReason``."""


class NackReason(enum.IntEnum):
    """Why a request was not executed."""

    NONE = 0
    BAD_CRC = 1
    """Damaged, truncated or too long: repeat."""
    BUSY = 2
    """All receive slots were taken: repeat."""
    BAD_TYPE = 3
    """Not a request of this protocol version."""
    BAD_COUNT = 4
    """Count out of range, or not what the length of the frame says."""
    BAD_ADDRESS = 5
    """An accessed address does not fit ``ADDRESS_WIDTH`` bits."""


@dataclass(frozen=True, kw_only=True)
class LinkIdentity:
    """What a device tells about itself in answer to HELLO."""

    preset: str
    """Name of the configuration preset, at most 16 ASCII characters."""

    fingerprint: int
    """32-bit hash of the configuration that programs are compiled for."""

    build: int
    """32-bit hash of the build: sources and tools."""

    rows: int
    columns: int
    lanes: int

    protocol_version: int = PROTOCOL_VERSION

    slots: int = RECEIVE_SLOTS
    """Requests that the device can buffer."""

    _FORMAT = struct.Struct("<BBHIIHH16s")
    WORDS = _FORMAT.size // 4
    """Length of the packed form in 32-bit words."""

    def __post_init__(self) -> None:
        if not (self.preset.isascii() and self.preset.isprintable() and len(self.preset) <= 16):
            raise ValueError(
                f"preset must be at most 16 printable ASCII characters, not {self.preset!r}"
            )
        for name, width in (
            ("fingerprint", 32),
            ("build", 32),
            ("rows", 16),
            ("columns", 16),
            ("lanes", 16),
            ("protocol_version", 8),
            ("slots", 8),
        ):
            value = getattr(self, name)
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} must be 0 to {(1 << width) - 1}, not {value}")

    def to_words(self) -> tuple[int, ...]:
        """The payload of the ACK to HELLO."""
        packed = self._FORMAT.pack(
            self.protocol_version,
            self.slots,
            self.lanes,
            self.fingerprint,
            self.build,
            self.rows,
            self.columns,
            self.preset.encode("ascii"),
        )
        return struct.unpack(f"<{self.WORDS}I", packed)

    @classmethod
    def from_words(cls, words: tuple[int, ...] | list[int]) -> "LinkIdentity":
        """The inverse of :meth:`to_words`; raises ``ValueError`` on a malformed payload."""
        if len(words) != cls.WORDS:
            raise ValueError(f"identity must have {cls.WORDS} words, not {len(words)}")
        version, slots, lanes, fingerprint, build, rows, columns, name = cls._FORMAT.unpack(
            struct.pack(f"<{cls.WORDS}I", *words)
        )
        return cls(
            preset=name.rstrip(b"\0").decode("ascii"),
            fingerprint=fingerprint,
            build=build,
            rows=rows,
            columns=columns,
            lanes=lanes,
            protocol_version=version,
            slots=slots,
        )
