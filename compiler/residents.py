"""On-chip tables of several networks that share one memory: which stay, and where they lie."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from hw.config import AcceleratorConfig

from .loads import Load, entries_of, table_load
from .units import PER_TILE, LayerPlan, Plan, Table, Unit

__all__ = ["Chip", "Layers", "Resident", "choose_residents", "place_together"]

Resident = frozenset[tuple[int, Table]]
"""Layer tags and tables that stay."""
Layers = tuple[LayerPlan, ...]
"""Of one network."""


@dataclass(frozen=True)
class Chip:
    """Where the tables that stay on the chip lie, and what loads them."""

    bases: dict[tuple[int, int, Table], int]
    """By network, layer tag and table."""
    used: dict[Table, int]
    """Entries that are taken, from entry 0 on."""
    loads: list[Load]

    def of_units(self, index: int, plan: Plan) -> list[dict[Table, int]]:
        """Bases of every table of every unit, as :func:`compiler.loads.place_tables` tells them."""
        placed: list[dict[Table, int]] = []
        loads = dict.fromkeys(Table, -1)
        for unit in plan.units:
            bases: dict[Table, int] = {}
            for table in Table:
                if plan.is_resident(unit, table):
                    offset = unit.first * unit.plan.need(table) if table in PER_TILE else 0
                    bases[table] = self.bases[index, unit.plan.tag, table] + offset
                else:
                    loads[table] += unit.loads(table)
                    bases[table] = self.used[table] + (loads[table] % 2) * plan.half(table)
            placed.append(bases)
        return placed


def choose_residents(
    layers: Sequence[Layers], whole: Plan, config: AcceleratorConfig
) -> list[Resident]:
    """What stays on the chip: of the weights what does in the whole network, of each other table
    those of as many networks as there is room for, the one with all planes first."""
    count = len(layers)
    chosen: list[set[tuple[int, Table]]] = []
    for own in layers:
        shared = (
            plan.tag
            for plan, other in zip(own, whole.layers, strict=True)
            if plan.tables is None
            or (other.tables is not None and plan.tables.weights is other.tables.weights)
        )
        chosen.append({(tag, Table.WEIGHTS) for tag in shared} & whole.resident)
    windows = count
    for table in (t for t in Table if t is not Table.WEIGHTS):
        most = windows if table is Table.PASSES else count
        held = next(
            held for held in range(most, -1, -1) if _fits(layers, table, held, whole, config)
        )
        if table is Table.WINDOWS:
            windows = held
        for index in range(count - held, count):
            chosen[index] |= {(plan.tag, table) for plan in layers[index]}
    return [frozenset(own) for own in chosen]


def _fits(
    layers: Sequence[Layers], table: Table, held: int, whole: Plan, config: AcceleratorConfig
) -> bool:
    """Whether the tables of the last ``held`` networks can stay while the rest is loaded."""
    if held == 0:
        return True
    split = len(layers) - held
    with_windows = {table, Table.WINDOWS} if table is Table.PASSES else {table}
    residents = [
        frozenset((plan.tag, kind) for plan in own for kind in with_windows)
        if index >= split
        else frozenset[tuple[int, Table]]()
        for index, own in enumerate(layers)
    ]
    used = place_together(layers, residents, config).used[table]
    streamed = max((plan.need(table) for own in layers[:split] for plan in own), default=0)
    return used + 2 * streamed <= whole.capacity[table]


def place_together(
    layers: Sequence[Layers],
    residents: Sequence[Collection[tuple[int, Table]]],
    config: AcceleratorConfig,
) -> Chip:
    """One behind the other; equal tables, and pass tables that begin others, lie in one place."""
    chip = Chip({}, dict.fromkeys(Table, 0), [])
    known: dict[Table, list[tuple[bytes, int]]] = {table: [] for table in Table}
    for index in reversed(range(len(layers))):
        for plan in layers[index]:
            unit = Unit(plan, 0, plan.channel_tiles)
            bases = dict.fromkeys(Table, 0)
            for table in Table:
                if (plan.tag, table) not in residents[index]:
                    continue
                load = table_load(table, unit, bases, config)
                if load is not None:
                    bases[table] = _known_place(known[table], load, table)
                    if bases[table] < 0:
                        bases[table] = chip.used[table]
                        chip.used[table] += entries_of(table, unit)
                        chip.loads.append(replace(load, address=bases[table]))
                        known[table].append((load.words.tobytes(), bases[table]))
                chip.bases[index, plan.tag, table] = bases[table]
    return chip


def _known_place(known: list[tuple[bytes, int]], load: Load, table: Table) -> int:
    """Base of a table that holds the load's words; -1 if there is none."""
    content = load.words.tobytes()
    for words, base in known:
        if words == content or (table is Table.PASSES and words.startswith(content)):
            return base
    return -1
