"""Picture of a placed design: every tile of the chip in the colour of the module that fills it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from host.bitstream_report import BLOCK_RAM, FF, LUT4, MULTIPLIER, CellPlace, module_of

__all__ = ["draw_floorplan"]

CELLS_PER_TILE = 8
"""LUTs, and flip-flops, of a full logic tile."""

COLOURS_MAXIMUM = 12
OTHERS = "others"
GRIDS = {
    "LFE5U-12F": (73, 51),
    "LFE5U-25F": (73, 51),
    "LFE5U-45F": (91, 72),
    "LFE5U-85F": (127, 96),
}
"""Columns and rows of tiles."""


def draw_floorplan(
    path: Path,
    cells: Iterable[CellPlace],
    paths: frozenset[str],
    *,
    device: str,
    title: str,
) -> None:
    """Write a PNG.

    A tile takes the colour of the module that has most cells in it, the stronger the fuller the
    tile is. Squares are block RAMs, diamonds multipliers.

    Args:
        path: File to write.
        cells: Placed cells.
        paths: Module paths, for :func:`host.bitstream_report.module_of`.
        device: Chip, for its size.
        title: Above the picture.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    placed = [(cell, module_of(cell.name, paths)) for cell in cells]
    sizes = Counter(module for cell, module in placed if cell.kind in (LUT4, FF))
    named = [module for module, _ in sizes.most_common(COLOURS_MAXIMUM - 1)]
    palette = colormaps["tab20"].colors
    colours = {module: palette[(2 * i) % 20 + i // 10] for i, module in enumerate(named)}
    colours[OTHERS] = (0.45, 0.45, 0.45)

    columns, rows = _grid(device, placed)
    figure = Figure(figsize=(12, 12 * rows / columns + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(_tile_image(placed, colours, columns, rows), interpolation="nearest")
    for kind, marker in ((BLOCK_RAM, "s"), (MULTIPLIER, "D")):
        spots = [(c.x, c.y, colours.get(m, colours[OTHERS])) for c, m in placed if c.kind == kind]
        if spots:
            x, y, colour = zip(*spots, strict=True)
            axes.scatter(x, y, c=colour, marker=marker, s=26, edgecolors="black", linewidths=0.6)
    axes.set(title=title, xlabel="column", ylabel="row")
    names = [name for name in colours if name != OTHERS or len(sizes) > len(named)]
    handles = [
        Line2D([], [], marker="s", linestyle="", color=colours[name], label=name) for name in names
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _grid(device: str, placed: list[tuple[CellPlace, str]]) -> tuple[int, int]:
    columns, rows = GRIDS.get(device, (1, 1))
    for cell, _ in placed:
        columns, rows = max(columns, cell.x + 1), max(rows, cell.y + 1)
    return columns, rows


def _tile_image(
    placed: list[tuple[CellPlace, str]],
    colours: dict[str, tuple[float, float, float]],
    columns: int,
    rows: int,
) -> np.ndarray:
    """White where nothing is."""
    tiles: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for cell, module in placed:
        if cell.kind in (LUT4, FF):
            tiles[cell.y, cell.x][module if module in colours else OTHERS] += 1
    image = np.ones((rows, columns, 3))
    for (y, x), modules in tiles.items():
        ((module, _),) = modules.most_common(1)
        strength = 0.25 + 0.75 * min(1.0, modules.total() / (2 * CELLS_PER_TILE))
        image[y, x] = 1 - strength * (1 - np.array(colours[module]))
    return image
