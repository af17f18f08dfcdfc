"""Test of a board's external memory through the serial link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from host.link import Client
from hw.config import PRESETS

__all__ = ["MemoryTestError", "MemoryTestResult", "external_words", "run_memory_test"]

BLOCK_WORDS = 1 << 12
"""Words that one step writes or reads."""
WORD_BITS = 32
MULTIPLIER = 0x9E3779B1
"""Odd, so that different addresses have different words, with all bits mixed."""

Progress = Callable[[int, int], None]


class MemoryTestError(Exception):
    """The memory gives back other words than were written, or its size is not known."""


@dataclass(frozen=True, kw_only=True)
class MemoryTestResult:
    """A test that was passed."""

    words: int
    """That were tested, each with a word and with its inverse."""


def pattern(address: int, count: int, inverse: bool) -> NDArray[np.uint32]:
    """The words of addresses from ``address`` on: no two addresses have the same."""
    addresses = np.arange(address, address + count, dtype=np.uint64)
    words = (addresses * np.uint64(MULTIPLIER) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return ~words if inverse else words


def external_words(preset_name: str) -> int:
    """Size of the external memory of a board with the preset ``preset_name``.

    Raises:
        MemoryTestError: This release does not know the preset.
    """
    if preset_name not in PRESETS:
        raise MemoryTestError(
            f"size of the memory must be given: this release does not know the preset {preset_name}"
        )
    return PRESETS[preset_name].memory.external_words


def run_memory_test(
    client: Client, words: int, progress: Progress | None = None
) -> MemoryTestResult:
    """Write every word of the memory, then read all of them; again with the inverse words.

    All is written before anything is read, so that addresses that mean the same place show, and
    so that words wait for longer than the time in which an SDRAM must refresh them.

    Args:
        client: Connected to the board; no run may be under way.
        words: 32-bit words from address 0 on.
        progress: Called with the words done and the words of all steps.

    Raises:
        MemoryTestError: A word differs; names the first address, the bits and how many words.
    """
    if words < 1:
        raise ValueError(f"words must be at least 1, not {words}")
    done, total = 0, 4 * words
    for inverse in (False, True):
        for reading in (False, True):
            wrong = _Differences()
            for address in range(0, words, BLOCK_WORDS):
                expected = pattern(address, min(BLOCK_WORDS, words - address), inverse)
                if reading:
                    got = np.array(client.read_memory(address, len(expected)), np.uint32)
                    wrong.add(address, expected, got)
                else:
                    client.write_memory(address, expected.tolist())
                done += len(expected)
                if progress is not None:
                    progress(done, total)
            wrong.require_none(words)
    return MemoryTestResult(words=words)


class _Differences:
    """Words that were not what they must be."""

    def __init__(self) -> None:
        self._count = 0
        self._bits = 0
        self._first: tuple[int, int, int] | None = None

    def add(self, address: int, expected: NDArray[np.uint32], got: NDArray[np.uint32]) -> None:
        places = np.flatnonzero(expected != got)
        if not len(places):
            return
        self._count += len(places)
        self._bits |= int(np.bitwise_or.reduce(expected[places] ^ got[places]))
        if self._first is None:
            place = int(places[0])
            self._first = address + place, int(expected[place]), int(got[place])

    def require_none(self, words: int) -> None:
        if self._first is None:
            return
        address, expected, got = self._first
        raise MemoryTestError(
            f"external memory word {address:#08x} must be {expected:#010x}, not {got:#010x} "
            f"({_bit_list(expected ^ got)}); {self._count:,} of {words:,} words differ, in "
            f"{_bit_list(self._bits)}"
        )


def _bit_list(mask: int) -> str:
    bits = [str(bit) for bit in range(WORD_BITS) if mask >> bit & 1]
    return f"bit{'s' * (len(bits) > 1)} {', '.join(bits)}"
