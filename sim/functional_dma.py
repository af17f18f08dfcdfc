"""DMA in the functional simulator: loads and stores between external and on-chip memories."""

from __future__ import annotations

import numpy as np

from hw import isa
from hw.memory.packing import entry_formats

from .functional_memories import Fields, Memories, signed

__all__ = ["DmaEngine"]


class DmaEngine:
    """Carries out DMA instructions.

    Args:
        memories: What it reads and writes.
    """

    def __init__(self, memories: Memories) -> None:
        self._memories, self._config = memories, memories.config

    def execute(self, f: Fields) -> None:
        """All runs of an instruction; on chip they lie one behind the other."""
        address = f["address"]
        for row in range(f["rows"] + 1):
            for run in range(f["runs"] + 1):
                external = f["external"] + row * f["row_stride"] + run * f["run_stride"]
                self.move({**f, "address": address, "external": external})
                address += f["count"]

    def move(self, f: Fields) -> None:
        """One run: ``count`` entries from or to ``external``."""
        m = self._memories
        target, base, count = isa.DmaTarget(f["target"]), f["address"], f["count"]
        source = m.external[f["external"] :]
        if target is isa.DmaTarget.STREAMS:
            self._streams(f)
        elif f["store"]:
            bits = m.activation[2 * base : 2 * (base + count)].ravel()
            packed = np.packbits(bits, bitorder="little")
            packed = np.pad(packed, (0, -packed.size % 4)).view("<u4")
            source[: len(packed)] = packed
        elif target is isa.DmaTarget.ACTIVATIONS:
            items = self._items(f["external"], count, m.word_width)
            m.activation[2 * base :][: 2 * count] = items.reshape(2 * count, m.rows)
        elif target is isa.DmaTarget.WEIGHTS:
            items = self._items(f["external"], count, m.lanes)
            m.weights[base : base + count // m.rows] = items.reshape(-1, m.rows, m.lanes)
        elif target is isa.DmaTarget.COEFFICIENTS:
            values = signed(source[:count], self._config.datapath.coefficient_width)
            m.coefficients[base : base + count // m.rows] = values.reshape(-1, m.rows)
        elif target is isa.DmaTarget.PARAMETERS:
            m.parameters[base : base + count] = source[:count]
        elif target is isa.DmaTarget.WINDOWS:
            self._windows(source, base, count)
        elif target is isa.DmaTarget.PASSES:
            entries = source[: 2 * count].reshape(count, 2).astype(np.int64)
            m.passes[base : base + count] = np.stack(
                [entries[:, 0] & 0xFFFF, entries[:, 0] >> 16, entries[:, 1] & 0xFFFF]
                + [entries[:, 1] >> 16],
                axis=1,
            )
        else:
            width = 2 * self._config.datapath.comparators
            groups = source[: count * width].reshape(count, -1, 2)
            m.thresholds[base : base + count, :, 0] = signed(groups[..., 0], 32)
            m.thresholds[base : base + count, :, 1] = groups[..., 1]

    def _items(self, address: int, count: int, width: int) -> np.ndarray:
        """``count`` items of ``width`` bits from an external word on: bool [count, width]."""
        words = -(-count * width // 32)
        bits = np.unpackbits(
            self._memories.external[address : address + words].astype("<u4").view(np.uint8),
            bitorder="little",
        )
        return bits[: count * width].reshape(count, width).astype(bool)

    def _windows(self, source: np.ndarray, base: int, count: int) -> None:
        """Offsets of the granules, two a word, then the mask of the lanes."""
        m, granules = self._memories, self._config.array.granules
        pairs = -(-granules // 2)
        width = pairs + -(-m.lanes // 32)
        entries = source[: count * width].reshape(count, width)
        offsets = np.ascontiguousarray(entries[:, :pairs]).astype("<u4").view("<u2")
        m.windows[base : base + count] = offsets[:, :granules]
        masks = np.ascontiguousarray(entries[:, pairs:]).astype("<u4").view(np.uint8)
        bits = np.unpackbits(masks, axis=1, bitorder="little")
        m.masks[base : base + count] = bits[:, : m.lanes].astype(bool)

    def _streams(self, f: Fields) -> None:
        """Vectors of signed values, each in whole words."""
        m, config = self._memories, self._config
        width, count, first = config.datapath.stream_width, f["count"], f["address"]
        words = entry_formats(config)[isa.DmaTarget.STREAMS].words
        external = m.external[f["external"] :][: count * words]
        if f["store"]:
            base = config.memory.stream_vectors + first
            vectors = m.stream[base : base + count] & ((1 << width) - 1)
            bits = (vectors[..., None] >> np.arange(width) & 1).reshape(count, -1)
            bits = np.pad(bits, ((0, 0), (0, 32 * words - bits.shape[1]))).astype(bool)
            external[:] = np.packbits(bits, axis=1, bitorder="little").view("<u4").ravel()
            return
        bits = np.unpackbits(external.astype("<u4").view(np.uint8), bitorder="little")
        bits = bits.reshape(count, -1)[:, : m.rows * width].reshape(count, m.rows, width)
        m.stream[first : first + count] = signed(
            (bits.astype(np.int64) << np.arange(width)).sum(axis=2), width
        )
