"""Units of work: what is loaded and computed at once, and which tables stay on chip."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from golden.integer_network import Layer
from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

from .layout import PlaneLayout, StreamLayout
from .passes import ConvolutionTables
from .program import ProgramError
from .tiling import Geometry, Tile

__all__ = ["PER_TILE", "LayerPlan", "Plan", "Table", "Unit", "divide"]


class Table(enum.Enum):
    """On-chip tables that the DMA engine loads."""

    WEIGHTS = "weights"
    COEFFICIENTS = "coefficients"
    PARAMETERS = "parameters"
    WINDOWS = "windows"
    PASSES = "passes"
    THRESHOLDS = "thresholds"


PER_TILE = (Table.WEIGHTS, Table.COEFFICIENTS, Table.PARAMETERS)


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer with everything that the emission needs, but no addresses yet."""

    tag: int
    layer: Layer
    order: tuple[int, ...]
    source: PlaneLayout | StreamLayout | None
    """None: the image."""
    residual_source: StreamLayout | None
    plane_output: PlaneLayout | None
    stream_output: StreamLayout | None
    shape: Geometry | None
    """None for a stream layer."""
    tiles: tuple[Tile, ...]
    pieces: tuple[Tile, ...]
    """Of a tile that is a pool window and does not fit a column buffer: parts of it, in the order
    of its pixels, that are filled and computed one after the other. Else none."""
    tables: ConvolutionTables | None
    parameters: np.ndarray
    thresholds: np.ndarray | None

    @property
    def channel_tiles(self) -> int:
        return len(self.parameters)

    @property
    def tile_width(self) -> int:
        """Output columns that a FILL serves: all tiles of a layer share its row length."""
        return max(tile.width for tile in self.pieces or self.tiles)

    @property
    def filled_width(self) -> int:
        """Output columns of a tile with what is filled beyond it."""
        if self.pieces:
            return max(piece.x for piece in self.pieces) + self.tile_width
        return self.tile_width

    def need(self, table: Table) -> int:
        """Entries of a table: per channel tile for ``PER_TILE`` tables, else for the layer."""
        if table is Table.PARAMETERS:
            return self.parameters.shape[1]
        if table is Table.THRESHOLDS:
            return 0 if self.thresholds is None else len(self.thresholds)
        if self.tables is None:
            return 0
        return {
            Table.WEIGHTS: self.tables.weights.shape[1],
            Table.COEFFICIENTS: len(self.tables.passes),
            Table.WINDOWS: len(self.tables.masks),
            Table.PASSES: len(self.tables.passes),
        }[table]

    def total(self, table: Table) -> int:
        return self.need(table) * (self.channel_tiles if table in PER_TILE else 1)


@dataclass(frozen=True)
class Unit:
    """Channel tiles [first, first + count) of a layer: what is loaded and computed at once."""

    plan: LayerPlan
    first: int
    count: int
    part: int | None = None
    """Of one channel tile only this part of the window: its weights are loaded alone."""
    tile: int = 0
    """If so, of which of the layer's tiles; otherwise it is all of them."""

    @property
    def ends_group(self) -> bool:
        """Whether the sums of its tile are complete after it."""
        tables = self.plan.tables
        return self.part is None or (tables is not None and self.part + 1 == len(tables.parts))

    def loads(self, table: Table) -> bool:
        """Whether it needs entries of a table that the unit before did not have.

        What all tiles and parts of a channel tile need comes with the first one, what all channel
        tiles of a layer need with its first unit.
        """
        if self.plan.need(table) == 0:
            return False
        if table is Table.WEIGHTS:
            return True
        return not self.part and not self.tile and (table in PER_TILE or self.first == 0)

    def frees(self, table: Table) -> bool:
        """Whether what :meth:`loads` has told of is not needed after it."""
        if self.plan.need(table) == 0:
            return False
        if table is Table.WEIGHTS:
            return True
        ends_layer = self.first + self.count == self.plan.channel_tiles
        is_last = self.part is None or self.tile + 1 == len(self.plan.tiles)
        return self.ends_group and is_last and (table in PER_TILE or ends_layer)


@dataclass(frozen=True)
class Plan:
    """The whole network."""

    layers: tuple[LayerPlan, ...]
    units: tuple[Unit, ...]
    resident: frozenset[tuple[int, Table]]
    """Tables, by layer tag, that have a place of their own and are loaded only once."""
    capacity: dict[Table, int]

    def is_resident(self, unit: Unit, table: Table) -> bool:
        return (unit.plan.tag, table) in self.resident

    def streams(self, unit: Unit) -> bool:
        """Whether a table of the unit is loaded for every image."""
        return any(unit.loads(table) and not self.is_resident(unit, table) for table in Table)

    def half(self, table: Table) -> int:
        """Entries of each of the two places that streamed units use in turn."""
        return _half(self.layers, table, self.resident, self.capacity[table])


def divide(
    plans: list[LayerPlan],
    config: AcceleratorConfig,
    *,
    resident: frozenset[tuple[int, Table]] | None = None,
    reserved: Mapping[Table, int] | None = None,
    dense: bool = False,
) -> Plan:
    """Choose what stays on chip, and cut the layers into units.

    ``resident`` is what stays, if that is known already; ``reserved`` are entries that others use.
    With ``dense`` the weights of more layers stay, and the others are cut into smaller units.
    Raises :class:`ProgramError`, with the numbers, for a table that does not fit.
    """
    capacity = _capacities(config)
    for table, entries in (reserved or {}).items():
        capacity[table] -= entries
    if resident is None:
        resident = _resident(plans, capacity, config, dense)
    units = [unit for plan in plans for unit in _units(plan, plans, resident, capacity, config)]
    return Plan(tuple(plans), tuple(units), resident, capacity)


def _capacities(config: AcceleratorConfig) -> dict[Table, int]:
    memory = config.memory
    return {
        Table.WEIGHTS: memory.weight_words,
        Table.COEFFICIENTS: memory.coefficient_words,
        Table.PARAMETERS: memory.parameter_words,
        Table.WINDOWS: memory.window_entries,
        Table.PASSES: memory.pass_entries,
        Table.THRESHOLDS: memory.threshold_groups,
    }


def _resident(
    plans: list[LayerPlan], capacity: dict[Table, int], config: AcceleratorConfig, dense: bool
) -> frozenset[tuple[int, Table]]:
    """Tables of all layers where they fit together; of the weights else those of some layers."""
    whole = {t for t in Table if sum(plan.total(t) for plan in plans) <= capacity[t]}
    if Table.WINDOWS not in whole:
        whole -= {Table.PASSES}  # pass entries hold window addresses, which then move
    resident = {(plan.tag, table) for plan in plans for table in whole}
    if Table.WEIGHTS not in whole:
        pinned = _pinned(plans, capacity[Table.WEIGHTS], config, dense)
        resident |= {(tag, Table.WEIGHTS) for tag in pinned}
    return frozenset(resident)


def _pinned(
    plans: list[LayerPlan], capacity: int, config: AcceleratorConfig, dense: bool
) -> set[int]:
    """Layers whose weights stay: those that compute least for what they load come first.

    What remains must hold two of every other layer, or as much of it as the whole memory would: a
    layer that is cut into more units has to be filled again for each. With ``dense`` it must hold
    two channel tiles.
    """
    layers = [plan for plan in plans if plan.tables is not None]

    def work(plan: LayerPlan) -> float:
        """Cycles of computing per weight word."""
        assert plan.tables is not None
        pixels = sum(tile.height * tile.width for tile in plan.tiles)
        if plan.shape is not None:
            pixels *= plan.shape.vectors
        strips = -(-pixels // config.array.columns)
        return strips * plan.tables.strip_cycles(config) / plan.need(Table.WEIGHTS)

    pinned: set[int] = set()
    used = 0
    for plan in sorted(layers, key=work):
        words = plan.total(Table.WEIGHTS)
        others = [
            p.need(Table.WEIGHTS) if dense else p.total(Table.WEIGHTS)
            for p in layers
            if p.tag not in pinned | {plan.tag}
        ]
        largest = min(max(others, default=0), capacity // 2)
        if used + words + 2 * largest <= capacity:
            pinned.add(plan.tag)
            used += words
    return pinned


def _half(
    plans: Iterable[LayerPlan],
    table: Table,
    resident: frozenset[tuple[int, Table]],
    capacity: int,
) -> int:
    used = sum(plan.total(table) for plan in plans if (plan.tag, table) in resident)
    return (capacity - used) // 2


def _units(
    plan: LayerPlan,
    plans: list[LayerPlan],
    resident: frozenset[tuple[int, Table]],
    capacity: dict[Table, int],
    config: AcceleratorConfig,
) -> list[Unit]:
    """Split the channel tiles so that each unit's streamed tables fit half of their memory."""
    group = min(plan.channel_tiles, 255)
    by_part = False
    for table in Table:
        need = plan.need(table)
        if (plan.tag, table) in resident or need == 0:
            continue
        half = _half(plans, table, resident, capacity[table])
        if table is Table.WEIGHTS and need > half and plan.tables is not None:
            by_part = bool(plan.tables.parts)
            need = plan.tables.weights_at_once
        if need > half:
            unit = "channel tile" if table in PER_TILE else "layer"
            raise ProgramError(
                f"layer {plan.layer.name} must fit the {table.value} memory: a {unit} needs "
                f"{need} entries, half of the memory has {half}"
            )
        if table in PER_TILE:
            group = min(group, half // need)
    if by_part and plan.tables is not None:
        return [
            Unit(plan, first, 1, part, tile)
            for first in range(plan.channel_tiles)
            for tile in range(len(plan.tiles))
            for part in range(len(plan.tables.parts))
        ]
    residual, memory = plan.residual_source, config.memory
    if memory.spill_vectors and residual is not None:
        # Two blocks of the residual must fit the stream memory if it lies outside; a block is a
        # tile at least.
        largest = max(tile.height * tile.width for tile in plan.tiles)
        if residual.vectors > memory.stream_vectors // 2:
            group = min(group, max(1, memory.stream_vectors // 2 // largest))
    if config.spills and plan.plane_output is not None and group < plan.channel_tiles:
        # What a unit writes may go to the external memory: whole words of each pixel.
        together = max(1, WORD // config.array.rows // plan.plane_output.slots)
        group = max(1, group // together * together)
    return [
        Unit(plan, first, min(group, plan.channel_tiles - first))
        for first in range(0, plan.channel_tiles, group)
    ]
