"""Windows larger than half of a column buffer: filled and summed part by part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from golden.integer_network import ConvolutionLayer

from .layout import PlaneLayout
from .tiling import Geometry
from .windows import Granule

__all__ = ["Part", "may_have_parts", "window_parts"]


@dataclass(frozen=True)
class Part:
    """A rectangle of a window: kernel rows, and granules of each of these rows."""

    rows: tuple[int, int]
    granules: tuple[int, int]
    """First one and end, both even. All of the row, unless the part has one row only."""

    def holds(self, granule: Granule) -> bool:
        """Whether a granule of the window (in plane 0) lies in the part, with all its planes."""
        return (
            self.rows[0] <= granule.row < self.rows[1]
            and self.granules[0] <= granule.offset < self.granules[1]
        )

    def place(self, granule: Granule) -> Granule:
        """The granule where it lies when the buffer holds this part alone."""
        return replace(
            granule, row=granule.row - self.rows[0], offset=granule.offset - self.granules[0]
        )


def may_have_parts(layer: ConvolutionLayer, shape: Geometry, images: int) -> bool:
    """Whether a layer has no padding and one output pixel for each of the images."""
    kernel_rows, kernel_columns = shape.kernel
    is_padded = any(layer.padding) or layer.input_shape[:2] != (
        kernel_rows * images,
        kernel_columns,
    )
    is_one_pixel = shape.output == (images, 1) and shape.images == 1 and not shape.overlaps
    return is_one_pixel and not is_padded


def window_parts(
    layer: ConvolutionLayer,
    shape: Geometry,
    source: PlaneLayout | None,
    capacity: int,
    *,
    images: int = 1,
    together: int = 1,
) -> tuple[Part, ...]:
    """Parts of a layer's window that fit ``capacity`` granules each; none if all of it fits.

    The sums of the parts stay in the accumulators of one strip, so only a layer with one output
    pixel for each of the ``images`` can have parts; others have none, whether they fit or not.
    They are cut between kernel rows, or within rows between channel blocks if a row does not fit.
    If several images are filled ``together``, each with so many granules, a part is never of more
    than one row: FILL finds those of all images at equal distances.
    """
    whole = shape.granules(1, 1)
    if whole <= capacity or source is None or not may_have_parts(layer, shape, images):
        return ()
    if capacity < max(2, source.slots):
        return ()
    kernel_rows, row = shape.kernel[0], shape.row_granules(1)
    if row <= capacity and together > 1:
        return tuple(Part((first, first + 1), (0, row)) for first in range(kernel_rows))
    if row <= capacity:
        rows = _cuts(kernel_rows, capacity // row)
        return tuple(Part(piece, (0, row)) for piece in pairwise(rows))
    unit = max(2, source.slots)
    edges = [unit * edge for edge in _cuts(row // unit, capacity // unit)]
    return tuple(
        Part((first, first + 1), piece) for first in range(kernel_rows) for piece in pairwise(edges)
    )


def _cuts(total: int, largest: int) -> list[int]:
    """Edges of the fewest pieces of ``total`` that have at most ``largest``, nearly equal."""
    pieces = -(-total // largest)
    return [total * piece // pieces for piece in range(pieces + 1)]
