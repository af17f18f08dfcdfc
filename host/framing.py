"""Frames as bytes: COBS, CRC-32 and the split of a byte stream into frames.

``hw.link.protocol`` describes the format. Nothing here does input or output.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from hw.link.protocol import FRAME_BYTES_MAXIMUM, FRAME_BYTES_MINIMUM

__all__ = ["Frame", "FrameSplitter", "FramingError", "cobs_decode", "cobs_encode", "encoded_bytes"]

BLOCK_BYTES_MAXIMUM = 254
CODE_NO_ZERO = 255


class FramingError(ValueError):
    """Bytes that are no frame."""


def cobs_encode(data: bytes) -> bytes:
    """``data`` without zero bytes; the delimiter is not included."""
    encoded = bytearray()
    *pieces, last = data.split(b"\0")
    for piece in pieces:
        encoded += _encode_piece(piece)
        if piece and len(piece) % BLOCK_BYTES_MAXIMUM == 0:
            # The zero after a full block needs a code of its own.
            encoded.append(1)
    return bytes(encoded + _encode_piece(last))


def _encode_piece(piece: bytes) -> bytes:
    """Blocks of bytes other than zero, each after its code."""
    blocks = [
        piece[start : start + BLOCK_BYTES_MAXIMUM]
        for start in range(0, max(len(piece), 1), BLOCK_BYTES_MAXIMUM)
    ]
    return b"".join(bytes([len(block) + 1]) + block for block in blocks)


def cobs_decode(encoded: bytes) -> bytes:
    """The inverse of :func:`cobs_encode`; raises :class:`FramingError`."""
    decoded = bytearray()
    position = 0
    while position < len(encoded):
        code = encoded[position]
        piece = encoded[position + 1 : position + code]
        if code == 0 or len(piece) != code - 1 or 0 in piece:
            raise FramingError(f"piece at byte {position} must have {code - 1} non-zero bytes")
        decoded += piece
        position += code
        if code != CODE_NO_ZERO and position < len(encoded):
            decoded.append(0)
    return bytes(decoded)


def encoded_bytes(words: int) -> int:
    """Bytes on the line of a frame with this many payload words."""
    return FRAME_BYTES_MINIMUM + 4 * words + 2


@dataclass(frozen=True)
class Frame:
    """One frame of the protocol."""

    kind: int
    sequence: int
    count: int = 0
    reason: int = 0
    words: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The bytes on the line, delimiter included."""
        body = struct.pack(
            f"<BBBB{len(self.words)}I",
            self.kind,
            self.sequence,
            self.count,
            self.reason,
            *self.words,
        )
        return cobs_encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"

    @classmethod
    def decode(cls, encoded: bytes) -> Frame:
        """A frame from its bytes without the delimiter; raises :class:`FramingError`."""
        decoded = cobs_decode(encoded)
        body, crc = decoded[:-4], decoded[-4:]
        if not FRAME_BYTES_MINIMUM <= len(decoded) <= FRAME_BYTES_MAXIMUM or len(decoded) % 4:
            raise FramingError(
                f"frame must be {FRAME_BYTES_MINIMUM} to {FRAME_BYTES_MAXIMUM} bytes in whole "
                f"words, not {len(decoded)}"
            )
        if crc != struct.pack("<I", zlib.crc32(body)):
            raise FramingError(f"CRC-32 must be {zlib.crc32(body):08x}, not {crc[::-1].hex()}")
        kind, sequence, count, reason, *words = struct.unpack(f"<BBBB{len(body) // 4 - 1}I", body)
        return cls(kind, sequence, count, reason, tuple(words))


class FrameSplitter:
    """Cuts a stream of bytes into frames and drops what is none.

    Holds no more bytes than the longest frame has, whatever comes in.
    """

    def __init__(self) -> None:
        self.damaged = 0
        """Pieces between two delimiters that were not a frame."""

        self._bytes = bytearray()

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that ``received`` completes."""
        frames = []
        *complete, rest = received.split(b"\0")
        for piece in complete:
            encoded = bytes(self._bytes) + piece
            self._bytes.clear()
            if not encoded:
                continue
            try:
                frames.append(Frame.decode(encoded))
            except FramingError:
                self.damaged += 1
        self._bytes += rest
        # One byte more than the longest frame is enough to know that it is too long.
        del self._bytes[FRAME_BYTES_MAXIMUM + 2 :]
        return frames
