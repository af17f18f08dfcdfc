"""Loading of tables: where they lie on the chip and how they are packed outside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from hw import isa
from hw.config import AcceleratorConfig
from hw.memory.packing import entry_formats

from .image import coefficient_words, pass_words, weight_words, window_words
from .program import ProgramError
from .units import PER_TILE, Plan, Table, Unit

__all__ = ["Load", "entries_of", "place_tables", "resident_loads", "table_load"]

TARGETS = {
    Table.WEIGHTS: isa.DmaTarget.WEIGHTS,
    Table.COEFFICIENTS: isa.DmaTarget.COEFFICIENTS,
    Table.PARAMETERS: isa.DmaTarget.PARAMETERS,
    Table.WINDOWS: isa.DmaTarget.WINDOWS,
    Table.PASSES: isa.DmaTarget.PASSES,
    Table.THRESHOLDS: isa.DmaTarget.THRESHOLDS,
}


@dataclass(frozen=True, kw_only=True)
class Load:
    """A table, or a part of one, that one DMA instruction moves to its on-chip memory."""

    tag: int
    """Of the layer."""
    target: isa.DmaTarget
    address: int
    """On-chip address of the first entry."""
    addresses: int
    rows: int
    """DMA entries at each address: the rows of weights and coefficients, else 1."""
    step: int
    """Addresses of a piece: the fewest that take whole words. The last piece may have less."""
    words: np.ndarray
    """uint32 [pieces, words per piece], as they lie in the external memory."""

    def cut(self, pieces: int) -> tuple[Load, Load]:
        """The first ``pieces`` of them, and the rest."""
        count = min(pieces * self.step, self.addresses)
        first = replace(self, addresses=count, words=self.words[:pieces])
        rest = replace(
            self,
            address=self.address + count,
            addresses=self.addresses - count,
            words=self.words[pieces:],
        )
        return first, rest

    def fields(self, external: int) -> dict[str, int]:
        """Fields of the DMA instruction if the words lie from word ``external`` on."""
        return {
            "store": 0,
            "target": self.target.value,
            "address": self.address,
            "external": external,
            "count": self.addresses * self.rows,
        }


def table_load(
    table: Table, unit: Unit, bases: dict[Table, int], config: AcceleratorConfig
) -> Load | None:
    """The load of a unit's table; None if the unit has no such table."""
    addresses = entries_of(table, unit)
    if addresses == 0 or not unit.loads(table):
        return None
    form = entry_formats(config)[TARGETS[table]]
    piece = form.words_of(form.step * form.rows)
    words = _packed(table, unit, bases, config)
    words = np.pad(words, (0, -len(words) % piece))
    return Load(
        tag=unit.plan.tag,
        target=TARGETS[table],
        address=bases[table],
        addresses=addresses,
        rows=form.rows,
        step=form.step,
        words=words.reshape(-1, piece),
    )


def resident_loads(
    plan: Plan,
    placed: list[dict[Table, int]],
    config: AcceleratorConfig,
    tables: Collection[Table] = frozenset(Table),
) -> list[Load]:
    """The loads of those ``tables`` that stay on chip, each once."""
    loads: list[Load] = []
    done: set[tuple[int, Table]] = set()
    for unit, bases in zip(plan.units, placed, strict=True):
        for table in Table:
            key = (unit.plan.tag, table)
            if table not in tables or not plan.is_resident(unit, table):
                continue
            if table not in PER_TILE and key in done:
                continue
            done.add(key)
            load = table_load(table, unit, bases, config)
            if load is not None:
                loads.append(load)
    return loads


def _packed(
    table: Table, unit: Unit, bases: dict[Table, int], config: AcceleratorConfig
) -> np.ndarray:
    """External words of a unit's table."""
    plan, tiles = unit.plan, slice(unit.first, unit.first + unit.count)
    if table is Table.PARAMETERS:
        return plan.parameters[tiles].ravel()
    if table is Table.THRESHOLDS:
        return np.zeros(0, np.uint32) if plan.thresholds is None else plan.thresholds.ravel()
    tables = plan.tables
    if tables is None:
        return np.zeros(0, np.uint32)
    if table is Table.WEIGHTS:
        words = slice(None)
        if unit.part is not None:
            weights = tables.parts[unit.part].weights
            words = slice(weights.start, weights.stop)
        return weight_words(tables.weights[tiles, words])
    if table is Table.COEFFICIENTS:
        return coefficient_words(tables.coefficients[tiles], config)
    if table is Table.PASSES:
        return pass_words(tables.passes, bases[Table.WINDOWS])
    assert plan.shape is not None
    windows = tables.windows(plan.shape.row_granules(plan.tile_width))
    if windows.max() >= 1 << 16:
        raise ProgramError(f"layer {plan.layer.name}: window offsets must fit 16 bits")
    return window_words(windows, tables.masks, config)


def entries_of(table: Table, unit: Unit) -> int:
    """Entries of a unit's table, per row for weights and coefficients."""
    if unit.part is not None and table is Table.WEIGHTS and unit.plan.tables is not None:
        return len(unit.plan.tables.parts[unit.part].weights)
    return unit.plan.need(table) * (unit.count if table in PER_TILE else 1)


def place_tables(plan: Plan) -> list[dict[Table, int]]:
    """On-chip base of every table of every unit.

    Resident tables lie one behind the other; behind them are two places that the loads of a
    streamed table use in turn.
    """
    placed: list[dict[Table, int]] = []
    running = dict.fromkeys(Table, 0)
    free = {table: plan.capacity[table] - 2 * plan.half(table) for table in Table}
    resident_layer: dict[tuple[int, Table], int] = {}
    loads = dict.fromkeys(Table, -1)
    for unit in plan.units:
        bases: dict[Table, int] = {}
        for table in Table:
            key = (unit.plan.tag, table)
            if not plan.is_resident(unit, table):
                loads[table] += unit.loads(table)
                bases[table] = free[table] + (loads[table] % 2) * plan.half(table)
            elif key in resident_layer and not unit.loads(table):
                bases[table] = resident_layer[key]
            else:
                bases[table] = resident_layer[key] = running[table]
                running[table] += entries_of(table, unit)
        placed.append(bases)
    return placed
