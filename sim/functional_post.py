"""POST in the functional simulator: from the array's sums, and streams, to a layer's output."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from golden.fixed_point import round_shift, saturate
from hw import isa

from .functional_memories import Fields, FunctionalError, Memories, signed

__all__ = ["LayerTrace", "PostEngine"]


@dataclass
class LayerTrace:
    """What a layer wrote: accumulators in order, and (address, values) of its memory writes."""

    accumulators: list[np.ndarray] = field(default_factory=list)
    streams: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Vector addresses [n] and values [n, rows]."""
    granules: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Granule addresses [n] and bits [n, rows]."""


class PostEngine:
    """Carries out POST_CONFIG and POST instructions.

    Args:
        memories: What it reads and writes.
        vectors: Sums [rows] of the array, which it takes in order.
    """

    def __init__(self, memories: Memories, vectors: deque[np.ndarray]) -> None:
        self._memories, self._vectors = memories, vectors
        self._datapath = memories.config.datapath
        self._config: Fields = {}
        """Of the last POST_CONFIG."""
        self.traces: dict[int, LayerTrace] = {}
        """What was written, by the layers' tags."""

    def configure(self, f: Fields) -> None:
        """Keep a POST_CONFIG for the POSTs behind it."""
        self._config = f

    def is_fed(self, f: Fields) -> bool:
        """Whether a POST finds all its array vectors."""
        if not self._config["array"]:
            return True
        return len(self._vectors) >= f["tiles"] * self._array_vectors(f)

    def execute(self, f: Fields) -> None:
        """Write all channel tiles; raises :class:`FunctionalError` if a value is too large."""
        c, m, rows = self._config, self._memories, self._memories.rows
        trace = self.traces.setdefault(f["layer"], LayerTrace())
        count = self._array_vectors(f)
        for tile in range(f["tiles"]):
            start = f["parameter_base"] + tile * 3 * rows
            table = m.parameters[start : start + 3 * rows].reshape(rows, 3)
            acc = np.zeros((count, rows), np.int64)
            if c["array"]:
                acc = np.array([self._vectors.popleft() for _ in range(count)])
            acc = acc + signed(table[:, 0], 32)
            trace.accumulators.append(acc)
            v = acc + (self._residual(f, tile, count) << c["residual_shift"])
            self._check(v)
            if c["relu_stream"]:
                v = np.maximum(v, 0)
            s = saturate(round_shift(v, c["stream_shift"]), self._datapath.stream_width)
            if c["store_stream"]:
                index = np.arange(count)
                address = (
                    f["stream_base"]
                    + tile
                    + index % c["outer_x"] * c["stream_outer_x"]
                    + index // c["outer_x"] * c["stream_outer_y"]
                )
                m.stream[address] = s
                trace.streams.append((address, s))
            u = s * signed(table[:, 2], 18) + signed(table[:, 1], 32) if c["affine"] else v
            if c["relu"]:
                u = np.maximum(u, 0)
            self._check(u)
            self._output(f, tile, self._pool(u, table[:, 2] >> 31 > 0), trace)

    def _array_vectors(self, f: Fields) -> int:
        """Vectors of the array for one channel tile of a POST."""
        count = f["vectors"]
        if self._config["residual"] == isa.ResidualMode.SUM.value:
            count //= self._config["inner_x"] * self._config["inner_y"]
        return count

    def _residual(self, f: Fields, tile: int, count: int) -> np.ndarray:
        """int64 [count, rows] stream vectors (mode SUM: summed) of one channel tile."""
        c, m = self._config, self._memories
        mode = isa.ResidualMode(c["residual"])
        if mode is isa.ResidualMode.NONE:
            return np.zeros((count, m.rows), np.int64)
        inner = c["inner_x"] * c["inner_y"]
        vector = np.arange(f["vectors"])
        window = vector // inner
        address = (
            f["residual_base"]
            + tile
            + vector % c["inner_x"] * c["residual_inner_x"]
            + vector // c["inner_x"] % c["inner_y"] * c["residual_inner_y"]
            + window % c["outer_x"] * c["residual_outer_x"]
            + window // c["outer_x"] * c["residual_outer_y"]
        )
        values = m.stream[address]
        if mode is isa.ResidualMode.SUM:
            values = values.reshape(count, inner, m.rows).sum(1)
        return values

    def _check(self, values: np.ndarray) -> None:
        limit = 1 << (self._datapath.accumulator_width - 1)
        if values.size and not -limit <= values.min() <= values.max() < limit:
            raise FunctionalError("accumulators must not overflow")

    def _pool(self, u: np.ndarray, minimum: np.ndarray) -> np.ndarray:
        c = self._config
        operation = isa.PoolOperation(c["pool"])
        if operation is isa.PoolOperation.NONE:
            return u
        windows = u.reshape(-1, c["inner_x"] * c["inner_y"], self._memories.rows)
        if operation is isa.PoolOperation.SUM:
            return windows.sum(1)
        return np.where(minimum, windows.min(1), windows.max(1))

    def _output(self, f: Fields, tile: int, p: np.ndarray, trace: LayerTrace) -> None:
        c, m = self._config, self._memories
        kind = isa.OutputKind(c["output"])
        if kind is isa.OutputKind.NONE:
            return
        index = np.arange(len(p))
        address = (
            f["code_base"]
            + tile * c["code_tile"]
            + index % c["outer_x"] * c["code_outer_x"]
            + index // c["outer_x"] * c["code_outer_y"]
        )
        if kind is isa.OutputKind.RAW:
            items = (p & 0xFFFFFFFF).astype("<u4").view(np.uint8).reshape(len(p), m.rows, 4)
            width = max(32, m.word_width)
            bits = np.unpackbits(items, axis=2, bitorder="little")
            bits = np.pad(bits, ((0, 0), (0, 0), (0, width - 32)))
            granules = bits.reshape(len(p), -1, m.rows)
        else:
            codes = self._codes(p) if kind is isa.OutputKind.CODES else self._fixed(p)
            planes = np.arange(c["planes"])
            granules = (codes[:, None, :] >> planes[None, :, None] & 1).astype(bool)
        target = (address[:, None] + np.arange(granules.shape[1])).ravel()
        bits = granules.reshape(-1, m.rows).astype(bool)
        m.activation[target] = bits
        trace.granules.append((target, bits))

    def _codes(self, p: np.ndarray) -> np.ndarray:
        c = self._config
        groups = self._memories.thresholds[c["threshold_base"] :][: c["threshold_groups"]]
        codes = np.full(p.shape, c["code_initial"], np.int64)
        for threshold, delta in groups.reshape(-1, 2):
            codes ^= np.where(p > threshold, delta, 0)
        return codes

    def _fixed(self, p: np.ndarray) -> np.ndarray:
        c = self._config
        return saturate(round_shift(p, c["output_shift"]), c["output_bits"])
