"""Packing of tables and data into 32-bit words of the external memory."""

from __future__ import annotations

import numpy as np

from hw.config import AcceleratorConfig

from .passes import Pass

__all__ = ["MemoryImage", "coefficient_words", "pass_words", "weight_words", "window_words"]


class MemoryImage:
    """The external memory's contents, filled from word 0 upward."""

    def __init__(self) -> None:
        self._pieces: list[np.ndarray] = []
        self.size = 0
        self.words_by_use: dict[str, int] = {}
        """Words that each use takes, in the order of first additions."""

    def append(self, use: str, words: np.ndarray) -> int:
        """Add words; returns the address of the first. ``use`` names them in messages."""
        address = self.size
        self._pieces.append(np.asarray(words, np.uint32).ravel())
        count = self._pieces[-1].size
        self.size += count
        self.words_by_use[use] = self.words_by_use.get(use, 0) + count
        return address

    def reserve(self, use: str, count: int) -> int:
        """Add ``count`` zero words; returns the address of the first."""
        return self.append(use, np.zeros(count, np.uint32))

    def words(self) -> np.ndarray:
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.uint32)


def _pack_bits(bits: np.ndarray) -> np.ndarray:
    """Bits in memory order to 32-bit words, bit 0 first; the last word is filled with zeros."""
    packed = np.packbits(bits.ravel(), bitorder="little")
    return np.pad(packed, (0, -packed.size % 4)).view("<u4").astype(np.uint32)


def weight_words(weights: np.ndarray) -> np.ndarray:
    """``bool [tiles, words, rows, lanes]`` as items of lanes bits, rows innermost."""
    return _pack_bits(weights)


def coefficient_words(coefficients: np.ndarray, config: AcceleratorConfig) -> np.ndarray:
    """``int [tiles, passes, rows]``: one word each, two's complement."""
    mask = (1 << config.datapath.coefficient_width) - 1
    return (coefficients.ravel() & mask).astype(np.uint32)


def window_words(windows: np.ndarray, masks: np.ndarray, config: AcceleratorConfig) -> np.ndarray:
    """Window entries: two offsets per word, then the mask in ceil(lanes / 32) words."""
    pairs = np.pad(windows, ((0, 0), (0, windows.shape[1] % 2)))
    offsets = (pairs[:, ::2] | pairs[:, 1::2] << 16).astype(np.uint32)
    padding = -config.array.lanes % 32
    packed = np.packbits(np.pad(masks, ((0, 0), (0, padding))), axis=1, bitorder="little")
    return np.concatenate([offsets, packed.view("<u4").astype(np.uint32)], axis=1).ravel()


def pass_words(passes: tuple[Pass, ...], window_base: int) -> np.ndarray:
    """Pass entries: window | length << 16, plane | weight << 16."""
    return np.array(
        [
            word
            for entry in passes
            for word in (
                (entry.window + window_base) | entry.length << 16,
                entry.plane | entry.weight << 16,
            )
        ],
        np.uint32,
    )
