"""Fields of the FILL instruction."""

from __future__ import annotations

from golden.integer_network import ConvolutionLayer

from .parts import Part
from .pool_tiles import PoolTile
from .tiling import Tile, clip
from .units import LayerPlan
from .views import View

__all__ = ["fill_fields", "part_fields"]


def fill_fields(plan: LayerPlan, tile: Tile, source: View) -> tuple[int, dict[str, int]]:
    """Input of a tile with its padding.

    Returns:
        The rows of the input that must be there, and the fields.
    """
    layer, shape = plan.layer, plan.shape
    assert isinstance(layer, ConvolutionLayer)
    assert shape is not None
    height, width, _ = layer.input_shape
    image, row = shape.place(tile.y)
    height //= shape.images
    inside = range(image * height, (image + 1) * height)
    if isinstance(tile, PoolTile):
        y0, x0 = tile.source
        y1 = y0 + (tile.height - 1) * shape.stride[0] + tile.window[0]
        x1 = x0 + (plan.tile_width - 1) * shape.stride[1] + shape.kernel[1]
    else:
        top, left = layer.padding[:2]
        y0 = inside.start + row * layer.stride[0] - top
        y1 = y0 + (tile.height - 1) * layer.stride[0] + layer.weight_planes.shape[2]
        x0 = tile.x * layer.stride[1] - left
        x1 = x0 + (plan.tile_width - 1) * layer.stride[1] + layer.weight_planes.shape[3]
    rows = clip(y0, y1, inside)
    columns = clip(x0, x1, range(width))
    patches = plan.source is None
    unit = 1 if patches else source.pixel
    return rows[1], {
        "image": int(patches),
        "source": source.at(rows[0], columns[0]),
        "source_stride": source.row,
        "top": rows[0] - y0,
        "rows": rows[1] - rows[0],
        "bottom": y1 - rows[1],
        "left": (columns[0] - x0) * unit,
        "words": (columns[1] - columns[0]) * unit,
        "right": (x1 - columns[1]) * unit,
        "kernel": layer.weight_planes.shape[3] if patches else 0,
        "stride": layer.stride[1] if patches else 0,
        "granules": shape.pixel_granules // 8 if patches else 0,
    }


def part_fields(part: Part, source: View, stride: int, tile: Tile) -> tuple[int, dict[str, int]]:
    """A part of the windows of a tile, in a layer without padding whose outputs are one column.

    Windows lie ``stride`` rows apart. A part of several windows is of one row of each.
    """
    first, end = part.rows
    pixels, above = tile.height, tile.y * stride
    assert pixels == 1 or end - first == 1
    return above + (pixels - 1) * stride + end, {
        "source": source.at(above + first, 0) + part.granules[0] // 2,
        "source_stride": source.row * stride if pixels > 1 else source.row,
        "rows": pixels * (end - first),
        "words": (part.granules[1] - part.granules[0]) // 2,
    }
