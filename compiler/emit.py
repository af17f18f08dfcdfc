"""Emission: from a plan to addresses, packed tables and instructions."""

from __future__ import annotations

from itertools import pairwise

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw import isa
from hw.config import AcceleratorConfig

from .emit_post import config_fields, post_fields, post_pieces
from .image import MemoryImage
from .layout import PlaneLayout
from .loads import Load, table_load
from .parts import Part
from .placement import allocate, item_words
from .tiling import StreamTile, Tile
from .tokens import InstructionList, TokenCounter
from .units import LayerPlan, Plan, Table, Unit

__all__ = ["Emitter"]

READY_SIGNALS = 24
"""Most READY tokens per layer."""
READY_OUTSTANDING = 40
"""Most READY tokens that FILL leaves waiting; one more layer's must still fit a semaphore."""

IMAGE_PARTS = 4
"""Most loads of the image."""
IMAGE_PART_ROWS = 8
"""Fewest rows of one."""


class Emitter:
    """Emits the per-image instructions of one plan, and the tables that they load."""

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
        self.program = InstructionList()
        self.addresses = allocate(network, plan, config)
        self.loaded_compute = TokenCounter(isa.Semaphore.LOADED, isa.Engine.COMPUTE)
        self.loaded_post = TokenCounter(isa.Semaphore.LOADED_POST, isa.Engine.POST)
        self.ready = TokenCounter(isa.Semaphore.READY, isa.Engine.FILL)
        self.released = TokenCounter(isa.Semaphore.RELEASED, isa.Engine.DMA)
        self.fills = 0
        self.parts = {c.tensor: c.sources for c in network.concatenations}
        self.tokens: dict[str, list[tuple[int, int]]] = {}
        """Per plane tensor: (rows finished, READY tokens that say so), ascending."""

    def emit_image(
        self, image_address: int, result_address: int, placed: list[dict[Table, int]]
    ) -> None:
        self._load_image(image_address)
        streamed = 0
        for index, (unit, bases) in enumerate(zip(self.plan.units, placed, strict=True)):
            final = index + 1 == len(self.plan.units)
            streams = self.plan.streams(unit)
            if streams:
                self._load_unit(streamed, unit, bases)
                streamed += 1
            last_of_layer = final or self.plan.units[index + 1].plan is not unit.plan
            post = self._emit_unit(unit, bases, last_of_layer)
            if streams or final:
                self.released.signal(post)
        self._store_result(result_address)

    def _load_image(self, image_address: int) -> None:
        """In parts, so that the first layer begins with the first rows."""
        shape = self.network.image
        events = self.tokens[shape.name] = []
        row_words = shape.width * item_words(self.config)
        parts = max(1, min(IMAGE_PARTS, shape.height // IMAGE_PART_ROWS))
        edges = [shape.height * part // parts for part in range(parts + 1)]
        for first, end in pairwise(edges):
            load = self.program.append(
                isa.Opcode.DMA,
                0,
                {
                    "store": 0,
                    "target": isa.DmaTarget.ACTIVATIONS.value,
                    "address": self.addresses.image + first * row_words,
                    "external": image_address + first * shape.width,
                    "count": (end - first) * row_words,
                },
            )
            events.append((end, self.ready.signal(load)))

    def _load_unit(self, index: int, unit: Unit, bases: dict[Table, int]) -> None:
        """Load the streamed tables where the streamed unit before the last one had its own."""
        wait = self.released.require(index - 1, self.program, unit.plan.tag)
        instruction: dict[str, int] = {}
        for table in Table:
            if self.plan.is_resident(unit, table):
                continue
            for load in self.unit_loads(table, unit, bases):
                external = self.image.append(f"streamed {table.value}", load.words)
                instruction = self.program.append(isa.Opcode.DMA, load.tag, load.fields(external))
                instruction["wait"], wait = wait, 0
        if unit.plan.tables is not None:
            self.loaded_compute.signal(instruction)
        self.loaded_post.signal(instruction)

    def unit_loads(self, table: Table, unit: Unit, bases: dict[Table, int]) -> list[Load]:
        """What loads a unit's table."""
        load = table_load(table, unit, bases, self.config)
        return [] if load is None else [load]

    def _emit_unit(
        self, unit: Unit, bases: dict[Table, int], last_of_layer: bool
    ) -> dict[str, int]:
        """FILL, COMPUTE and POST of every tile; returns the last POST."""
        plan = unit.plan
        tag = plan.tag
        pieces = post_pieces(unit)
        configured: tuple[object, int, object] | None = None
        post_wait = self.loaded_post.require(self.loaded_post.signalled, self.program, tag)
        post: dict[str, int] = {}
        every = -(-len(plan.tiles) // READY_SIGNALS)
        for number, tile in enumerate(plan.tiles):
            if plan.tables is not None:
                self._emit_convolution(unit, bases, tile)
            for piece in pieces:
                shape = (piece, tile.width, tile.window if isinstance(tile, StreamTile) else None)
                if configured != shape:
                    fields = config_fields(plan, bases, tile, piece[2], self.config)
                    config = self.program.append(isa.Opcode.POST_CONFIG, tag, fields)
                    config["wait"], post_wait = post_wait, 0
                    configured = shape
                fields = post_fields(unit, bases, tile, piece, self.addresses, self.config)
                post = self.program.append(isa.Opcode.POST, tag, fields)
            final = number + 1 == len(plan.tiles)
            readable = last_of_layer and plan.plane_output is not None
            partial = plan.tables is not None and (number + 1) % every == 0
            if readable and (final or partial):
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
        if self.ready.signalled - self.ready.taken > READY_OUTSTANDING:
            # Branches may go on long before FILL reads them: let it collect the older half.
            wait = self.ready.require(
                self.ready.signalled - READY_OUTSTANDING // 2, self.program, plan.tag
            )
            self.program.append(
                isa.Opcode.SYNC, plan.tag, {"engine": isa.Engine.FILL.value, "wait": wait}
            )

    def _emit_convolution(self, unit: Unit, bases: dict[Table, int], tile: Tile) -> None:
        """FILL and COMPUTE of a tile; of each channel tile and part if the window has parts."""
        tables = unit.plan.tables
        assert tables is not None
        if not tables.parts:
            self._emit_fill(unit.plan, tile)
            self._emit_compute(unit, bases, tile, range(unit.count), range(len(tables.passes)))
            return
        for channels in range(unit.count):
            first = 0
            for part, count in tables.parts:
                self._emit_part_fill(unit.plan, part)
                passes = range(first, first + count)
                self._emit_compute(unit, bases, tile, range(channels, channels + 1), passes)
                first += count

    # FILL ----------------------------------------------------------------------------------------

    def _emit_part_fill(self, plan: LayerPlan, part: Part) -> None:
        """A part of the window of a layer without padding that has one output pixel."""
        source = plan.source
        assert isinstance(source, PlaneLayout)
        row_words, (first, end) = source.row_stride // 2, part.rows
        base = self.addresses.planes[plan.layer.source] // 2
        self._append_fill(
            plan,
            end,
            {
                "source": base + first * row_words + part.granules[0] // 2,
                "source_stride": row_words,
                "rows": end - first,
                "words": (part.granules[1] - part.granules[0]) // 2,
            },
        )

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
            unit, row_words = 1, width * item_words(self.config)
            base = self.addresses.image + columns[0] * item_words(self.config)
        else:
            source = plan.source
            assert isinstance(source, PlaneLayout)
            unit, row_words = source.pixel_stride // 2, source.row_stride // 2
            base = self.addresses.planes[layer.source] // 2 + columns[0] * unit
        self._append_fill(
            plan,
            rows[1],
            {
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

    def _append_fill(self, plan: LayerPlan, rows: int, fields: dict[str, int]) -> None:
        """A FILL that needs the first ``rows`` rows of its source; fields left out are zero."""
        assert isinstance(plan.layer, ConvolutionLayer)
        half = self.fills % 2
        required = max(
            next(count for finished, count in self.tokens[part] if finished >= rows)
            for part in self.parts.get(plan.layer.source, (plan.layer.source,))
        )
        names = (field.name for field in isa.INSTRUCTION_FIELDS[isa.Opcode.FILL])
        fill = self.program.append(
            isa.Opcode.FILL,
            plan.tag,
            {"wait": 0, **dict.fromkeys(names, 0), **fields, "half": half},
        )
        # SYNCs that collect the missing tokens must come before the FILL.
        self.program.instructions.pop()
        fill["wait"] = self.ready.require(required, self.program, plan.tag)
        self.program.instructions.append((isa.Opcode.FILL, fill))
        if self.fills >= 2:
            fill["wait"] |= 1 << (isa.Semaphore.FREED_0 + half)
        fill["signal"] |= 1 << (isa.Semaphore.FILLED_0 + half)

    # COMPUTE -------------------------------------------------------------------------------------

    def _emit_compute(
        self, unit: Unit, bases: dict[Table, int], tile: Tile, channels: range, passes: range
    ) -> None:
        """A COMPUTE of these channel tiles of the unit, and of these passes of the layer."""
        plan = unit.plan
        shape, tables = plan.shape, plan.tables
        assert shape is not None
        assert tables is not None
        half = self.fills % 2
        self.fills += 1
        stride = plan.need(Table.WEIGHTS)
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
                "tiles": len(channels),
                "pixels": tile.height * tile.width,
                "pass_first": bases[Table.PASSES] + passes.start,
                "passes": len(passes),
                "weight_base": bases[Table.WEIGHTS] + channels.start * stride,
                "weight_stride": stride,
                "coefficient_base": bases[Table.COEFFICIENTS]
                + channels.start * len(tables.passes)
                + passes.start,
                "partial": int(passes.stop < len(tables.passes)),
                "inner_x": pool_w,
                "inner_y": pool_h,
                "outer_x": tile.width // pool_w,
                "stride_inner_x": pixel,
                "stride_inner_y": row,
                "stride_outer_x": pixel * pool_w,
                "stride_outer_y": row * pool_h,
            },
        )

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
                "count": final.channel_tiles * self.config.array.rows * item_words(self.config),
            },
        )


def _clip(low: int, high: int, size: int) -> tuple[int, int]:
    """The part of [low, high) inside [0, size); empty parts stay inside the range."""
    first = min(max(low, 0), min(high, size))
    first = max(first, 0)
    return first, max(min(high, size), first)
