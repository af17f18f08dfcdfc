"""Emission: from a plan to addresses, packed tables and instructions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    PoolKind,
    RawOutput,
)
from hw import isa
from hw.config import AcceleratorConfig

from .image import MemoryImage, coefficient_words, pass_words, weight_words, window_words
from .layout import PlaneLayout, RegionAllocator, StreamLayout
from .plan import PER_TILE, LayerPlan, Plan, Table, Unit
from .program import ProgramError
from .tiling import Tile
from .tokens import InstructionList, TokenCounter

__all__ = ["Addresses", "Emitter"]

TARGETS = {
    Table.WEIGHTS: isa.DmaTarget.WEIGHTS,
    Table.COEFFICIENTS: isa.DmaTarget.COEFFICIENTS,
    Table.PARAMETERS: isa.DmaTarget.PARAMETERS,
    Table.WINDOWS: isa.DmaTarget.WINDOWS,
    Table.PASSES: isa.DmaTarget.PASSES,
    Table.THRESHOLDS: isa.DmaTarget.THRESHOLDS,
}
ROW_TABLES = (Table.WEIGHTS, Table.COEFFICIENTS)
READY_SIGNALS = 24
"""Most READY tokens per layer: two layers' worth must fit a semaphore (6 bits)."""


@dataclass(frozen=True)
class Addresses:
    """Bases of a network's tensors: activation granules and stream vectors."""

    planes: dict[str, int]
    streams: dict[str, int]
    image: int
    raw: int


@dataclass(frozen=True)
class _Loaded:
    """On-chip bases of one unit's tables."""

    base: dict[Table, int]


class Emitter:
    """Emits the prologue and the per-image instructions of one plan."""

    def __init__(
        self,
        network: IntegerNetwork,
        plan: Plan,
        config: AcceleratorConfig,
        image: MemoryImage,
    ) -> None:
        self.network = network
        self.plan = plan
        self.config = config
        self.image = image
        self.prologue = InstructionList()
        self.program = InstructionList()
        self.addresses = self._allocate()
        self.loaded_compute = TokenCounter(isa.Semaphore.LOADED, isa.Engine.COMPUTE)
        self.loaded_post = TokenCounter(isa.Semaphore.LOADED_POST, isa.Engine.POST)
        self.ready = TokenCounter(isa.Semaphore.READY, isa.Engine.FILL)
        self.released = TokenCounter(isa.Semaphore.RELEASED, isa.Engine.DMA)
        self.fills = 0
        self.tokens: dict[str, list[tuple[int, int]]] = {}
        """Per plane tensor: (rows finished, READY tokens that say so), ascending."""

    # Addresses ---------------------------------------------------------------------------------

    def _allocate(self) -> Addresses:
        memory, rows = self.config.memory, self.config.array.rows
        activation = RegionAllocator("activation memory", memory.activation_words)
        stream = RegionAllocator("stream memory", memory.stream_vectors)
        last: dict[str, int] = {}
        for index, plan in enumerate(self.plan.layers):
            last[plan.layer.source] = index
            if isinstance(plan.layer, ConvolutionLayer) and plan.layer.residual is not None:
                last[plan.layer.residual.tensor] = index
        shape = self.network.image
        words = shape.height * shape.width * self.pixel_words
        base = activation.allocate("image", words, 0, last.get(shape.name, 0))
        planes: dict[str, int] = {}
        streams: dict[str, int] = {}
        raw = 0
        for index, plan in enumerate(self.plan.layers):
            layer = plan.layer
            if plan.plane_output is not None and layer.outputs is not None:
                name = layer.outputs.tensor
                words = plan.plane_output.words
                end = last.get(name, index)
                planes[name] = 2 * activation.allocate(f"tensor {name}", words, index, end)
            elif isinstance(layer.outputs, RawOutput):
                words = plan.channel_tiles * rows * self.pixel_words
                end = len(self.plan.layers)
                raw = 2 * activation.allocate(f"tensor {layer.outputs.tensor}", words, index, end)
            if plan.stream_output is not None and isinstance(layer, ConvolutionLayer):
                streams[layer.stream.tensor] = self._allocate_stream(
                    stream, plan, index, last, streams
                )
        return Addresses(planes, streams, base, raw)

    @staticmethod
    def _allocate_stream(
        allocator: RegionAllocator,
        plan: LayerPlan,
        index: int,
        last: dict[str, int],
        streams: dict[str, int],
    ) -> int:
        """A residual that ends here is overwritten in place: each vector is read before."""
        layer, output = plan.layer, plan.stream_output
        assert isinstance(layer, ConvolutionLayer)
        assert layer.stream is not None
        assert output is not None
        residual = layer.residual
        end = last.get(layer.stream.tensor, index)
        if (
            residual is not None
            and residual.window == 1
            and last[residual.tensor] == index
            and plan.residual_source == output
        ):
            base = streams[residual.tensor]
            allocator.place(base, output.vectors, index, end)
            return base
        return allocator.allocate(f"tensor {layer.stream.tensor}", output.vectors, index, end)

    @property
    def pixel_words(self) -> int:
        """Activation words of a 32-bit item."""
        return max(1, 32 // self.config.array.lanes)

    # Tables ------------------------------------------------------------------------------------

    def _packed(self, table: Table, unit: Unit, bases: dict[Table, int]) -> np.ndarray:
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
            return coefficient_words(tables.coefficients[tiles], self.config)
        if table is Table.PASSES:
            return pass_words(tables.passes, bases[Table.WINDOWS])
        assert plan.shape is not None
        windows = tables.windows(plan.shape.row_granules(plan.tile_width))
        if windows.max() >= 1 << 16:
            raise ProgramError(f"layer {plan.layer.name}: window offsets must fit 16 bits")
        return window_words(windows, tables.masks, self.config)

    def _entries(self, table: Table, unit: Unit) -> int:
        return unit.plan.need(table) * (unit.count if table in PER_TILE else 1)

    def _load(
        self, program: InstructionList, table: Table, unit: Unit, base: int, external: int
    ) -> dict[str, int]:
        entries = self._entries(table, unit)
        if table in ROW_TABLES:
            entries *= self.config.array.rows
        return program.append(
            isa.Opcode.DMA,
            unit.plan.tag,
            {
                "store": 0,
                "target": TARGETS[table].value,
                "address": base,
                "external": external,
                "count": entries,
            },
        )

    def place_tables(self) -> list[_Loaded]:
        """Pack all tables into the image; load the resident ones in the prologue."""
        placed: list[_Loaded] = []
        running = dict.fromkeys(Table, 0)
        resident_layer: dict[tuple[int, Table], int] = {}
        for index, unit in enumerate(self.plan.units):
            bases: dict[Table, int] = {}
            for table in Table:
                key = (unit.plan.tag, table)
                if table not in self.plan.resident:
                    bases[table] = (index % 2) * (self.plan.capacity[table] // 2)
                elif table not in PER_TILE and key in resident_layer:
                    bases[table] = resident_layer[key]
                else:
                    bases[table] = resident_layer[key] = running[table]
                    running[table] += self._entries(table, unit)
            placed.append(_Loaded(bases))
        return placed

    def emit_prologue(self, placed: list[_Loaded]) -> None:
        done: set[tuple[int, Table]] = set()
        for unit, loaded in zip(self.plan.units, placed, strict=True):
            for table in Table:
                key = (unit.plan.tag, table)
                if table not in self.plan.resident or self._entries(table, unit) == 0:
                    continue
                if table not in PER_TILE and key in done:
                    continue
                done.add(key)
                external = self.image.append(self._packed(table, unit, loaded.base))
                self._load(self.prologue, table, unit, loaded.base[table], external)

    # Instructions of one image -------------------------------------------------------------------

    def emit_image(self, image_address: int, result_address: int, placed: list[_Loaded]) -> None:
        shape = self.network.image
        load = self.program.append(
            isa.Opcode.DMA,
            0,
            {
                "store": 0,
                "target": isa.DmaTarget.ACTIVATIONS.value,
                "address": self.addresses.image,
                "external": image_address,
                "count": shape.height * shape.width * self.pixel_words,
            },
        )
        self.tokens[shape.name] = [(shape.height, self.ready.signal(load))]
        streaming = any(table not in self.plan.resident for table in Table)
        for index, (unit, loaded) in enumerate(zip(self.plan.units, placed, strict=True)):
            final = index + 1 == len(self.plan.units)
            if streaming:
                self._load_unit(index, unit, loaded)
            last_of_layer = final or self.plan.units[index + 1].plan is not unit.plan
            post = self._emit_unit(unit, loaded, last_of_layer)
            if streaming or final:
                self.released.signal(post)
        self._store_result(result_address)

    def _load_unit(self, index: int, unit: Unit, loaded: _Loaded) -> None:
        """Load the streamed tables into the half that the unit before the last one used."""
        wait = self.released.require(index - 1, self.program, unit.plan.tag)
        instruction: dict[str, int] | None = None
        for table in Table:
            if table in self.plan.resident or self._entries(table, unit) == 0:
                continue
            external = self.image.append(self._packed(table, unit, loaded.base))
            instruction = self._load(self.program, table, unit, loaded.base[table], external)
            instruction["wait"], wait = wait, 0
        if instruction is None:
            instruction = self.program.append(
                isa.Opcode.SYNC, unit.plan.tag, {"engine": isa.Engine.DMA.value, "wait": wait}
            )
        if unit.plan.tables is not None:
            self.loaded_compute.signal(instruction)
        self.loaded_post.signal(instruction)

    def _emit_unit(self, unit: Unit, loaded: _Loaded, last_of_layer: bool) -> dict[str, int]:
        """FILL, COMPUTE and POST of every tile; returns the last POST."""
        plan = unit.plan
        tag = plan.tag
        pieces = self._post_pieces(unit)
        configured: tuple[int, int] | None = None
        post_wait = self.loaded_post.require(self.loaded_post.signalled, self.program, tag)
        post: dict[str, int] = {}
        every = -(-len(plan.tiles) // READY_SIGNALS)
        for number, tile in enumerate(plan.tiles):
            if plan.tables is not None:
                self._emit_fill(plan, tile)
                self._emit_compute(unit, loaded, tile)
            for piece, (first, count, residual) in enumerate(pieces):
                if configured != (piece, tile.width):
                    fields = self._post_config(plan, loaded, tile.width, residual)
                    config = self.program.append(isa.Opcode.POST_CONFIG, tag, fields)
                    config["wait"], post_wait = post_wait, 0
                    configured = (piece, tile.width)
                post = self.program.append(
                    isa.Opcode.POST,
                    tag,
                    self._post(plan, loaded, tile, first, count, unit.first, residual),
                )
            final = number + 1 == len(plan.tiles)
            readable = last_of_layer and plan.plane_output is not None
            if readable and (final or (number + 1) % every == 0):
                self._signal_rows(plan, tile, final, post)
        return post

    def _signal_rows(self, plan: LayerPlan, tile: Tile, final: bool, post: dict[str, int]) -> None:
        """Tell FILL which rows of the layer's output are complete."""
        assert plan.layer.outputs is not None
        pool_h = plan.shape.pool[0] if plan.shape is not None else 1
        whole_row = plan.shape is None or tile.x + tile.width >= plan.shape.output[1]
        rows = (tile.y + (tile.height if whole_row else 0)) // pool_h
        if final:
            rows = plan.layer.output_shape[0]
        events = self.tokens.setdefault(plan.layer.outputs.tensor, [])
        events.append((rows, self.ready.signal(post)))

    # FILL ----------------------------------------------------------------------------------------

    def _emit_fill(self, plan: LayerPlan, tile: Tile) -> None:
        layer, shape = plan.layer, plan.shape
        assert isinstance(layer, ConvolutionLayer)
        assert shape is not None
        height, width, _ = layer.input_shape
        top, left = layer.padding[:2]
        y0 = tile.y * layer.stride[0] - top
        y1 = y0 + (tile.height - 1) * layer.stride[0] + layer.weight_planes.shape[2]
        x0 = tile.x * layer.stride[1] - left
        x1 = x0 + (plan.tile_width - 1) * layer.stride[1] + layer.weight_planes.shape[3]
        rows = _clip(y0, y1, height)
        columns = _clip(x0, x1, width)
        image = plan.source is None
        if image:
            unit, row_words = 1, width * self.pixel_words
            base = self.addresses.image + columns[0] * self.pixel_words
        else:
            source = plan.source
            assert isinstance(source, PlaneLayout)
            unit, row_words = source.pixel_stride // 2, source.row_stride // 2
            base = self.addresses.planes[layer.source] // 2 + columns[0] * unit
        half = self.fills % 2
        required = next(
            count for finished, count in self.tokens[layer.source] if finished >= rows[1]
        )
        fill = self.program.append(
            isa.Opcode.FILL,
            plan.tag,
            {
                "wait": 0,
                "half": half,
                "image": int(image),
                "source": base + rows[0] * row_words,
                "source_stride": row_words,
                "top": rows[0] - y0,
                "rows": rows[1] - rows[0],
                "bottom": y1 - rows[1],
                "left": (columns[0] - x0) * unit,
                "words": (columns[1] - columns[0]) * unit,
                "right": (x1 - columns[1]) * unit,
                "kernel": layer.weight_planes.shape[3] if image else 0,
                "stride": layer.stride[1] if image else 0,
                "granules": shape.pixel_granules // 8 if image else 0,
            },
        )
        # SYNCs that collect the missing tokens must come before the FILL.
        self.program.instructions.pop()
        fill["wait"] = self.ready.require(required, self.program, plan.tag)
        self.program.instructions.append((isa.Opcode.FILL, fill))
        if self.fills >= 2:
            fill["wait"] |= 1 << (isa.Semaphore.FREED_0 + half)
        fill["signal"] |= 1 << (isa.Semaphore.FILLED_0 + half)

    # COMPUTE -------------------------------------------------------------------------------------

    def _emit_compute(self, unit: Unit, loaded: _Loaded, tile: Tile) -> None:
        plan = unit.plan
        shape, tables = plan.shape, plan.tables
        assert shape is not None
        assert tables is not None
        half = self.fills % 2
        self.fills += 1
        row = shape.row_granules(plan.tile_width) * shape.stride[0]
        pixel = shape.pixel_granules * shape.stride[1]
        pool_h, pool_w = shape.pool
        wait = self.loaded_compute.require(self.loaded_compute.signalled, self.program, plan.tag)
        self.program.append(
            isa.Opcode.COMPUTE,
            plan.tag,
            {
                "wait": wait | 1 << (isa.Semaphore.FILLED_0 + half),
                "signal": 1 << (isa.Semaphore.FREED_0 + half),
                "half": half,
                "tiles": unit.count,
                "pixels": tile.height * tile.width,
                "pass_first": loaded.base[Table.PASSES],
                "passes": len(tables.passes),
                "weight_base": loaded.base[Table.WEIGHTS],
                "weight_stride": plan.need(Table.WEIGHTS),
                "coefficient_base": loaded.base[Table.COEFFICIENTS],
                "inner_x": pool_w,
                "inner_y": pool_h,
                "outer_x": tile.width // pool_w,
                "stride_inner_x": pixel,
                "stride_inner_y": row,
                "stride_outer_x": pixel * pool_w,
                "stride_outer_y": row * pool_h,
            },
        )

    # POST ----------------------------------------------------------------------------------------

    def _post_pieces(self, unit: Unit) -> list[tuple[int, int, bool]]:
        """(first channel tile, count, with residual) of the unit's POST instructions."""
        blocks = unit.plan.residual_source.blocks if unit.plan.residual_source else 0
        split = min(max(blocks - unit.first, 0), unit.count)
        pieces = [(unit.first, split, True), (unit.first + split, unit.count - split, False)]
        return [piece for piece in pieces if piece[1]]

    def _post_config(
        self, plan: LayerPlan, loaded: _Loaded, tile_width: int, residual: bool
    ) -> dict[str, int]:
        layer = plan.layer
        mode, shift, inner, steps = self._residual_fields(plan, residual)
        pool, output = layer.pool, layer.outputs
        stream, code = plan.stream_output, plan.plane_output
        operation = isa.PoolOperation.NONE
        if pool is not None:
            maximum = pool.kind is PoolKind.MAXIMUM
            operation = isa.PoolOperation.MAXIMUM if maximum else isa.PoolOperation.SUM
        pool_w = plan.shape.pool[1] if plan.shape is not None else 1
        fields = {
            "array": int(isinstance(layer, ConvolutionLayer)),
            "residual": mode.value,
            "residual_shift": shift,
            "relu_stream": int(layer.relu_stream),
            "store_stream": int(stream is not None),
            "stream_shift": layer.stream_shift,
            "affine": int(layer.affine is not None),
            "relu": int(layer.relu),
            "pool": operation.value,
            "output": isa.OutputKind.NONE.value,
            "output_shift": 0,
            "output_bits": 1,
            "planes": code.planes if code is not None else 0,
            "threshold_base": loaded.base[Table.THRESHOLDS],
            "threshold_groups": max(plan.need(Table.THRESHOLDS), 1),
            "code_initial": 0,
            "inner_x": inner[1],
            "inner_y": inner[0],
            "outer_x": tile_width // pool_w,
            "residual_inner_x": steps[0],
            "residual_inner_y": steps[1],
            "residual_outer_x": steps[2],
            "residual_outer_y": steps[3],
            "stream_outer_x": stream.blocks if stream is not None else 0,
            "stream_outer_y": stream.row_stride if stream is not None else 0,
            "code_tile": code.slots if code is not None else 0,
            "code_outer_x": code.pixel_stride if code is not None else 0,
            "code_outer_y": code.row_stride if code is not None else 0,
        }
        if isinstance(output, CodeOutput):
            fields["output"] = isa.OutputKind.CODES.value
            fields["code_initial"] = int(output.codes[0])
        elif isinstance(output, FixedPointOutput):
            fields["output"] = isa.OutputKind.FIXED.value
            fields["output_shift"], fields["output_bits"] = output.shift, output.bits
        elif isinstance(output, RawOutput):
            fields["output"] = isa.OutputKind.RAW.value
            fields["code_tile"] = 2 * self.config.array.rows * self.pixel_words
        return fields

    def _residual_fields(
        self, plan: LayerPlan, residual: bool
    ) -> tuple[isa.ResidualMode, int, tuple[int, int], tuple[int, ...]]:
        """Mode, shift, inner counts (y, x) and strides of the stream reads."""
        layer = plan.layer
        window = layer.pool.window if layer.pool is not None else (1, 1)
        stride = layer.pool.stride if layer.pool is not None else (1, 1)
        if not isinstance(layer, ConvolutionLayer):
            source = plan.source
            assert isinstance(source, StreamLayout)
            steps = _steps(source, stride)
            return isa.ResidualMode.ADD, layer.shift, window, steps
        if not residual or layer.residual is None or plan.residual_source is None:
            return isa.ResidualMode.NONE, 0, window, (0, 0, 0, 0)
        source = plan.residual_source
        if layer.residual.window > 1:
            side = (layer.residual.window, layer.residual.window)
            return isa.ResidualMode.SUM, layer.residual.shift, side, _steps(source, side)
        return isa.ResidualMode.ADD, layer.residual.shift, window, _steps(source, stride)

    def _post(
        self,
        plan: LayerPlan,
        loaded: _Loaded,
        tile: Tile,
        first: int,
        count: int,
        unit_first: int,
        residual: bool,
    ) -> dict[str, int]:
        layer = plan.layer
        pool_h, pool_w = plan.shape.pool if plan.shape is not None else (1, 1)
        stream_base = residual_base = code_base = 0
        vectors = tile.height * tile.width
        if not isinstance(layer, ConvolutionLayer):
            residual_base = self.addresses.streams[layer.source] + first
            if layer.pool is not None:
                vectors *= layer.pool.window[0] * layer.pool.window[1]
        elif residual and layer.residual is not None and plan.residual_source is not None:
            source, window = plan.residual_source, layer.residual.window
            residual_base = (
                self.addresses.streams[layer.residual.tensor]
                + tile.y * window * source.row_stride
                + tile.x * window * source.blocks
                + first
            )
            vectors *= window * window
        if isinstance(layer, ConvolutionLayer) and plan.stream_output is not None:
            assert layer.stream is not None
            stream_base = (
                self.addresses.streams[layer.stream.tensor]
                + tile.y * plan.stream_output.row_stride
                + tile.x * plan.stream_output.blocks
                + first
            )
        if plan.plane_output is not None and layer.outputs is not None:
            layout = plan.plane_output
            code_base = (
                self.addresses.planes[layer.outputs.tensor]
                + tile.y // pool_h * layout.row_stride
                + tile.x // pool_w * layout.pixel_stride
                + first * layout.slots
            )
        elif isinstance(layer.outputs, RawOutput):
            code_base = self.addresses.raw + first * 2 * self.config.array.rows * self.pixel_words
        return {
            "tiles": count,
            "vectors": vectors,
            "parameter_base": loaded.base[Table.PARAMETERS]
            + (first - unit_first) * plan.need(Table.PARAMETERS),
            "residual_base": residual_base,
            "stream_base": stream_base,
            "code_base": code_base,
        }

    # Result --------------------------------------------------------------------------------------

    def _store_result(self, result_address: int) -> None:
        final = self.plan.layers[-1]
        wait = self.released.require(self.released.signalled, self.program, final.tag)
        self.program.append(
            isa.Opcode.DMA,
            final.tag,
            {
                "wait": wait,
                "store": 1,
                "target": isa.DmaTarget.ACTIVATIONS.value,
                "address": self.addresses.raw // 2,
                "external": result_address,
                "count": final.channel_tiles * self.config.array.rows * self.pixel_words,
            },
        )


def _clip(low: int, high: int, size: int) -> tuple[int, int]:
    """The part of [low, high) inside [0, size); empty parts stay inside the range."""
    first = min(max(low, 0), min(high, size))
    first = max(first, 0)
    return first, max(min(high, size), first)


def _steps(source: StreamLayout, window: tuple[int, int]) -> tuple[int, int, int, int]:
    """Stream strides: inner x, inner y, outer x, outer y."""
    return (
        source.blocks,
        source.row_stride,
        source.blocks * window[1],
        source.row_stride * window[0],
    )
