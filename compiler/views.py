"""Where tensors, or blocks of them, are found on chip while a layer is computed."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import StreamLayout

__all__ = ["View", "stream_view"]


@dataclass(frozen=True)
class View:
    """Pixels of a tensor, row by row.

    The unit of addresses is that of the tensor: activation words where FILL reads, activation
    granules where POST writes, vectors for streams.
    """

    base: int
    """Address of the first pixel."""
    pixel: int
    """Addresses from one pixel to the next."""
    row: int
    """Addresses from one row to the next."""
    y: int = 0
    """Row of the first pixel in the tensor."""
    x: int = 0
    channel: int = 0
    """First channel block that the pixels hold; negative where others come before block 0."""

    def at(self, y: int, x: int) -> int:
        """Address of a pixel of the tensor."""
        return self.base + (y - self.y) * self.row + (x - self.x) * self.pixel


def stream_view(base: int, layout: StreamLayout) -> View:
    """A stream tensor that is in the stream memory as a whole."""
    return View(base, layout.blocks, layout.row_stride)
