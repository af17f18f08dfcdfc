"""Loading of tables: where they lie on the chip and how they are packed outside."""

from __future__ import annotations

import numpy as np

from hw import isa
from hw.config import AcceleratorConfig

from .image import coefficient_words, pass_words, weight_words, window_words
from .program import ProgramError
from .units import PER_TILE, Plan, Table, Unit

__all__ = ["entries_of", "load_fields", "packed", "place_tables"]

TARGETS = {
    Table.WEIGHTS: isa.DmaTarget.WEIGHTS,
    Table.COEFFICIENTS: isa.DmaTarget.COEFFICIENTS,
    Table.PARAMETERS: isa.DmaTarget.PARAMETERS,
    Table.WINDOWS: isa.DmaTarget.WINDOWS,
    Table.PASSES: isa.DmaTarget.PASSES,
    Table.THRESHOLDS: isa.DmaTarget.THRESHOLDS,
}
ROW_TABLES = (Table.WEIGHTS, Table.COEFFICIENTS)


def packed(
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
        return weight_words(tables.weights[tiles])
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
    return unit.plan.need(table) * (unit.count if table in PER_TILE else 1)


def load_fields(
    table: Table, unit: Unit, base: int, external: int, config: AcceleratorConfig
) -> dict[str, int]:
    """Fields of the DMA instruction that loads a unit's table."""
    entries = entries_of(table, unit)
    if table in ROW_TABLES:
        entries *= config.array.rows
    return {
        "store": 0,
        "target": TARGETS[table].value,
        "address": base,
        "external": external,
        "count": entries,
    }


def place_tables(plan: Plan) -> list[dict[Table, int]]:
    """On-chip base of every table of every unit.

    Resident tables lie one behind the other; behind them are two places that the units with
    streamed tables use in turn.
    """
    placed: list[dict[Table, int]] = []
    running = dict.fromkeys(Table, 0)
    free = {table: plan.capacity[table] - 2 * plan.half(table) for table in Table}
    resident_layer: dict[tuple[int, Table], int] = {}
    streamed = 0
    for unit in plan.units:
        bases: dict[Table, int] = {}
        for table in Table:
            key = (unit.plan.tag, table)
            if not plan.is_resident(unit, table):
                bases[table] = free[table] + (streamed % 2) * plan.half(table)
            elif table not in PER_TILE and key in resident_layer:
                bases[table] = resident_layer[key]
            else:
                bases[table] = resident_layer[key] = running[table]
                running[table] += entries_of(table, unit)
        streamed += plan.streams(unit)
        placed.append(bases)
    return placed
