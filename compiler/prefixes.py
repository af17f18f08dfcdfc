"""One program for a network in its first 1, 2, ... weight planes, and in all of them.

Each prefix has instructions, coefficients and parameters of its own, and so it has an entry; it
leaves out the passes of the planes that it does not use. What it has in common with another one is
held once, on the chip and in the external memory: the weights, whose planes are those of the whole
network (:mod:`golden.weight_prefix`), windows, pass tables. Nothing is shared because of what it
is meant to be, only because its words are equal; so a prefix is as exact as a program of its own.

The host chooses the planes of an inference by the address that it starts. Weights that stay on the
chip are not loaded again; of those that are loaded for each image only the planes in use are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from golden.integer_network import IntegerNetwork, RawOutput
from hw import isa
from hw.config import AcceleratorConfig

from .compile import check_external, layer_infos, tensor_infos
from .emit import Emitter
from .image import MemoryImage
from .loads import Load, entries_of, table_load
from .passes import ConvolutionTables
from .plan import plan_network
from .program import Prefix, Program, ProgramError
from .stages import cut_stages
from .units import PER_TILE, LayerPlan, Plan, Table, Unit, divide

__all__ = ["compile_prefixes"]

Resident = frozenset[tuple[int, Table]]
Layers = tuple[LayerPlan, ...]
STREAMED = "streamed "
"""How the emitter names tables that are loaded for each image."""


def compile_prefixes(networks: Sequence[IntegerNetwork], config: AcceleratorConfig) -> Program:
    """Compile ``networks``, in 1, 2, ... weight planes; the last one has all.

    Returns the program of the last one; its ``prefixes`` are all of them.

    Raises:
        ProgramError: The networks differ in more than planes, or do not fit together; the text
            has the numbers.
    """
    _check_alike(networks)
    plans = [plan_network(network, config) for network in networks]
    whole = plans[-1]
    layers = [_sharing(plan.layers, whole.layers) for plan in plans]
    residents = _residents(layers, whole, config)
    chip = _place(layers, residents, config)
    image = _SharedImage()
    first = networks[0]
    image_address = image.reserve("image", first.image.height * first.image.width)
    results = whole.layers[-1].channel_tiles * config.array.rows
    result_address = image.reserve("result", results)
    compiled: list[Prefix] = []
    try:
        # All planes first: what the prefixes load is found in what that loads.
        for index in reversed(range(len(networks))):
            network, plan = networks[index], _divided(layers[index], residents[index], chip, config)
            emitter = _PrefixEmitter(network, plan, config, image)
            emitter.emit_image(image_address, result_address, chip.of_units(index, plan, config))
            emitter.program.append(isa.Opcode.END, 0, {})
            output = network.layers[-1].outputs
            assert isinstance(output, RawOutput)
            compiled.append(
                Prefix(
                    planes=index + 1,
                    image_entry=image.append("instructions", emitter.program.words()),
                    result_fraction=output.fraction,
                    layers=layer_infos(plan),
                    tensors=tensor_infos(network, plan, emitter, config),
                )
            )
        stages = cut_stages(chip.loads, config)
    except isa.IsaError as error:
        raise ProgramError(f"network must fit the instruction set: {error}") from error
    check_external(image, config)
    most = compiled[0]
    return Program(
        network=networks[-1].name,
        preset=config.name,
        fingerprint=config.fingerprint,
        stages=stages,
        image_entry=most.image_entry,
        image_address=image_address,
        image_shape=(first.image.height, first.image.width, first.image.channels),
        result_address=result_address,
        result_count=networks[-1].layers[-1].output_shape[2],
        result_fraction=most.result_fraction,
        labels=networks[-1].labels,
        layers=most.layers,
        tensors=most.tensors,
        memory=image.words(),
        prefixes=tuple(reversed(compiled)),
    )


class _SharedImage(MemoryImage):
    """An external memory in which tables that lie inside one another are held once."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: list[tuple[bytes, int]] = []

    def append(self, use: str, words: np.ndarray) -> int:
        if not use.startswith(STREAMED):
            return super().append(use, words)
        content = np.asarray(words, "<u4").tobytes()
        for table, address in self._tables:
            place = table.find(content)
            while place >= 0 and place % 4:
                place = table.find(content, place + 1)
            if place >= 0:
                return address + place // 4
        address = super().append(use, words)
        self._tables.append((content, address))
        return address


class _PrefixEmitter(Emitter):
    """Loads of each channel tile's weights only the planes that the layer's passes use."""

    def unit_loads(self, table: Table, unit: Unit, bases: dict[Table, int]) -> list[Load]:
        tables = unit.plan.tables
        if table is not Table.WEIGHTS or tables is None:
            return super().unit_loads(table, unit, bases)
        need = unit.plan.need(table)
        used = max(entry.weight + entry.length for entry in tables.passes)
        if used >= need:
            return super().unit_loads(table, unit, bases)
        loads: list[Load] = []
        for tile in range(unit.count):
            base = {**bases, table: bases[table] + tile * need}
            load = table_load(table, Unit(unit.plan, unit.first + tile, 1), base, self.config)
            assert load is not None
            loads.append(load.cut(-(-used // load.step))[0])
        return loads


@dataclass(frozen=True)
class _Chip:
    """Where the tables that stay on the chip lie, and what loads them."""

    bases: dict[tuple[int, int, Table], int]
    """By network, layer tag and table."""
    used: dict[Table, int]
    """Entries that are taken, from entry 0 on."""
    loads: list[Load]

    def of_units(self, index: int, plan: Plan, config: AcceleratorConfig) -> list[dict[Table, int]]:
        """Bases of every table of every unit, as :func:`compiler.loads.place_tables` tells them."""
        placed: list[dict[Table, int]] = []
        streamed = 0
        for unit in plan.units:
            bases: dict[Table, int] = {}
            for table in Table:
                if plan.is_resident(unit, table):
                    offset = unit.first * unit.plan.need(table) if table in PER_TILE else 0
                    bases[table] = self.bases[index, unit.plan.tag, table] + offset
                else:
                    bases[table] = self.used[table] + (streamed % 2) * plan.half(table)
            streamed += plan.streams(unit)
            placed.append(bases)
        return placed


def _check_alike(networks: Sequence[IntegerNetwork]) -> None:
    """The networks must be one network, up to planes and scales."""

    def form(network: IntegerNetwork) -> object:
        return network.image, [
            (layer.name, layer.input_shape, layer.output_shape) for layer in network.layers
        ]

    if not networks:
        raise ProgramError("prefixes must be at least one network, not none")
    last = networks[-1]
    if not last.layers or not isinstance(last.layers[-1].outputs, RawOutput):
        raise ProgramError("network must end in a layer with raw output")
    for planes, network in enumerate(networks, 1):
        if form(network) != form(last):
            raise ProgramError(
                f"prefixes must be one network: in {planes} weight planes it has other layers "
                f"than in {len(networks)}"
            )


def _sharing(layers: Layers, whole: Layers) -> Layers:
    """``layers`` with the weight words of ``whole``, where those have all that the passes use."""
    return tuple(
        layer
        if layer.tables is None or other.tables is None
        else replace(layer, tables=_with_words(layer.tables, other.tables))
        for layer, other in zip(layers, whole, strict=True)
    )


def _with_words(tables: ConvolutionTables, whole: ConvolutionTables) -> ConvolutionTables:
    def words(of: ConvolutionTables, first: int, length: int) -> bytes:
        return of.weights[:, first : first + length].tobytes()

    found = {
        words(whole, entry.weight, entry.length): entry.weight for entry in reversed(whole.passes)
    }
    passes = []
    for entry in tables.passes:
        place = found.get(words(tables, entry.weight, entry.length))
        if place is None:
            return tables
        passes.append(replace(entry, weight=place))
    return replace(tables, passes=tuple(passes), weights=whole.weights)


def _residents(layers: Sequence[Layers], whole: Plan, config: AcceleratorConfig) -> list[Resident]:
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
    used = _place(layers, residents, config).used[table]
    streamed = max((plan.need(table) for own in layers[:split] for plan in own), default=0)
    return used + 2 * streamed <= whole.capacity[table]


def _place(
    layers: Sequence[Layers],
    residents: Sequence[Collection[tuple[int, Table]]],
    config: AcceleratorConfig,
) -> _Chip:
    """One behind the other; equal tables, and pass tables that begin others, lie in one place."""
    chip = _Chip({}, dict.fromkeys(Table, 0), [])
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


def _divided(layers: Layers, resident: Resident, chip: _Chip, config: AcceleratorConfig) -> Plan:
    """The plan of one network beside the tables of all."""
    own = {
        table: sum(plan.total(table) for plan in layers if (plan.tag, table) in resident)
        for table in Table
    }
    reserved = {table: chip.used[table] - own[table] for table in Table}
    return divide(list(layers), config, resident=resident, reserved=reserved)
