"""What a POST_CONFIG means for the cycles of the post engine."""

from __future__ import annotations

from hw.config import AcceleratorConfig
from hw.isa import OutputKind, PoolOperation, ResidualMode
from hw.post.affine import Affine
from hw.post.pack import Pack, RawWriter
from hw.post.pool import Pool
from hw.post.requantize import Requantize
from hw.post.residual import Residual
from hw.post.serialize import FixedPoint
from hw.post.stream_store import StreamStore

from .instructions import Instruction

__all__ = ["Settings"]


class Settings:
    """What a POST_CONFIG means for the cycles of the POSTs after it."""

    def __init__(self, instruction: Instruction, config: AcceleratorConfig) -> None:
        output = instruction["output"]
        planes = instruction["planes"]
        self.pairs = (planes + 1) // 2
        self.groups = instruction["threshold_groups"]
        self.kind = OutputKind(output)
        rows, item_cycles = config.array.rows, RawWriter.item_cycles(config)
        self.serial = rows * item_cycles
        self.last_item = (rows - 1) * item_cycles
        if self.kind is OutputKind.NONE:
            self.pace = 1
        elif self.kind is OutputKind.CODES:
            self.pace = max(self.groups, self.pairs)
        else:
            self.pace = self.serial
        self.array = bool(instruction["array"])
        self.stores = bool(instruction["store_stream"])
        self.summing = instruction["residual"] == ResidualMode.SUM.value
        self.grouped = self.summing or instruction["pool"] != PoolOperation.NONE.value
        self.window = instruction["inner_x"] * instruction["inner_y"] if self.grouped else 1
        self.to_pool = Residual.LATENCY + (
            StreamStore.LATENCY + Affine.LATENCY if instruction["affine"] else Affine.DIRECT_LATENCY
        )
        """Cycles from a vector to the pool, where the parameters are copied for the last time."""
        self.first_write, self.writes = self._writes()
        """Cycles from a vector that ends a window to its first write, and cycles that it takes."""

    def _writes(self) -> tuple[int, int]:
        pooled = self.to_pool + Pool.LATENCY
        if self.kind is OutputKind.NONE:
            return pooled, 0
        if self.kind is OutputKind.CODES:
            return pooled + self.groups + Requantize.LATENCY + Pack.LATENCY, self.pairs
        if self.kind is OutputKind.RAW:
            return pooled + 1 + Pack.LATENCY, self.serial
        return pooled + 1 + self.last_item + FixedPoint.LATENCY + Pack.LATENCY, self.pairs

    @property
    def last_write(self) -> int:
        """Cycles from the last vector of a command to its last write, or its last result."""
        return self.first_write + max(0, self.writes - 1)
