"""Several networks that are one, up to planes and scales, compiled to run from one memory.

Each has instructions of its own, and so an entry. What two of them have in common is held once, on
the chip and in the external memory. Nothing is shared because of what it is meant to be, only
because its words are equal; so each is as exact as a program of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from golden.integer_network import IntegerNetwork, RawOutput
from hw import isa
from hw.config import AcceleratorConfig

from .compile import check_external, layer_infos, tensor_infos
from .emit import Emitter
from .image import MemoryImage
from .loads import Load, table_load
from .passes import ConvolutionTables
from .placement import Addresses
from .plan import plan_network
from .program import LayerInfo, Program, ProgramError, TensorInfo
from .residents import Chip, Layers, Resident, choose_residents, place_together
from .stages import cut_stages
from .units import Plan, Table, Unit, divide

__all__ = ["Entry", "Together"]

STREAMED = "streamed "
"""How the emitter names tables that are loaded for each image."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The instructions of one network, and what they compute."""

    address: int
    """External word of the first one."""
    fraction: int
    """A logit's value is word * 2**-fraction."""
    layers: tuple[LayerInfo, ...]
    tensors: tuple[TensorInfo, ...]


class Together:
    """Networks that share one memory. The last one decides which weights stay on the chip.

    Args:
        networks: One network with other planes, coefficients and parameters.
        config: Sizes.

    Raises:
        ProgramError: The networks differ in more, or do not fit together; the text has the numbers.
    """

    def __init__(self, networks: Sequence[IntegerNetwork], config: AcceleratorConfig) -> None:
        _check_alike(networks)
        self._networks, self._config = networks, config
        plans = [plan_network(network, config) for network in networks]
        whole = plans[-1]
        self._layers = [_sharing(plan.layers, whole.layers) for plan in plans]
        self._residents = choose_residents(self._layers, whole, config)
        self._chip = place_together(self._layers, self._residents, config)
        self._image = _SharedImage()
        shape = networks[-1].image
        self._image_address = self._image.reserve("image", shape.height * shape.width)
        results = whole.layers[-1].channel_tiles * config.array.rows
        self._result_address = self._image.reserve("result", results)
        self._addresses: Addresses | None = None

    def emit(self, index: int, *, last_layer_only: bool = False) -> Entry:
        """Emit the instructions of a network, or of its last layer for an input that is there.

        A network whose tables hold those of others is to be emitted before these.
        """
        network, config = self._networks[index], self._config
        plan = _divided(self._layers[index], self._residents[index], self._chip, config)
        kind = _SharingEmitter
        if last_layer_only:
            kind = _LastLayerEmitter
            last = tuple(unit for unit in plan.units if unit.plan is plan.layers[-1])
            plan = replace(plan, units=last)
        emitter = kind(network, plan, config, self._image, self._chip.of_units(index, plan))
        try:
            emitter.emit_image(self._image_address, self._result_address)
            emitter.program.append(isa.Opcode.END, 0, {})
            address = self._image.append("instructions", emitter.program.words())
        except isa.IsaError as error:
            raise ProgramError(f"network must fit the instruction set: {error}") from error
        if emitter.addresses.external:
            raise ProgramError(
                f"network {network.name} must fit the chip to share a memory with others: tensor "
                f"{min(emitter.addresses.external)} does not"
            )
        if self._addresses is None:
            self._addresses = emitter.addresses
        if last_layer_only and emitter.addresses != self._addresses:
            raise ProgramError(
                f"network {network.name}: tensors must lie where an earlier run has left them"
            )
        output = network.layers[-1].outputs
        assert isinstance(output, RawOutput)
        layers, tensors = layer_infos(plan), tensor_infos(network, plan, emitter, config)
        if last_layer_only:
            layers, tensors = layers[-1:], tensors[-1:]
        return Entry(address=address, fraction=output.fraction, layers=layers, tensors=tensors)

    def program(self, start: Entry) -> Program:
        """The program, after all networks were emitted; it starts at ``start``."""
        network, config = self._networks[-1], self._config
        try:
            stages = cut_stages(self._chip.loads, config)
        except isa.IsaError as error:
            raise ProgramError(f"network must fit the instruction set: {error}") from error
        check_external(self._image, config)
        shape = network.image
        return Program(
            network=network.name,
            preset=config.name,
            fingerprint=config.fingerprint,
            stages=stages,
            image_entry=start.address,
            image_address=self._image_address,
            image_shape=(shape.height, shape.width, shape.channels),
            result_address=self._result_address,
            result_count=network.layers[-1].output_shape[2],
            result_fraction=start.fraction,
            labels=network.labels,
            layers=start.layers,
            tensors=start.tensors,
            memory=self._image.words(),
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


class _SharingEmitter(Emitter):
    """Loads of each channel tile's weights only the planes that the layer's passes use."""

    def unit_loads(self, table: Table, unit: Unit, bases: dict[Table, int]) -> list[Load]:
        tables = unit.plan.tables
        if table is not Table.WEIGHTS or tables is None or tables.parts:
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


class _LastLayerEmitter(_SharingEmitter):
    """Emits the last layer alone: no image, its input is complete."""

    def _load_image(self, image_address: int) -> None:
        layer = self.plan.layers[-1].layer
        self.readiness.mark_there(layer.source, layer.input_shape[0])


def _check_alike(networks: Sequence[IntegerNetwork]) -> None:
    """The networks must be one network, up to planes and scales."""

    def form(network: IntegerNetwork) -> object:
        return network.image, [
            (layer.name, layer.input_shape, layer.output_shape) for layer in network.layers
        ]

    if not networks:
        raise ProgramError("there must be at least one network, not none")
    last = networks[-1]
    if not last.layers or not isinstance(last.layers[-1].outputs, RawOutput):
        raise ProgramError("network must end in a layer with raw output")
    if last.images != 1:
        raise ProgramError(
            f"networks that share a memory must be on one image, not on a batch of {last.images}"
        )
    for number, network in enumerate(networks, 1):
        if form(network) != form(last):
            raise ProgramError(
                f"networks that share a memory must be one network: number {number} has other "
                f"layers than number {len(networks)}"
            )


def _sharing(layers: Layers, whole: Layers) -> Layers:
    """``layers`` with the weight words of ``whole``, where those have all that the passes use."""
    return tuple(
        layer
        if layer.tables is None or other.tables is None or layer.tables.parts or other.tables.parts
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


def _divided(layers: Layers, resident: Resident, chip: Chip, config: AcceleratorConfig) -> Plan:
    """The plan of one network beside the tables of all."""
    own = {
        table: sum(plan.total(table) for plan in layers if (plan.tag, table) in resident)
        for table in Table
    }
    reserved = {table: chip.used[table] - own[table] for table in Table}
    return divide(list(layers), config, resident=resident, reserved=reserved)
