"""Emission: from a plan to addresses, packed tables and instructions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw import isa
from hw.config import AcceleratorConfig

from .block_plan import BlockPlan
from .blocks import Block
from .emit_fill import fill_fields, part_fields
from .emit_post import PostViews, config_fields, post_fields, post_pieces
from .image import MemoryImage
from .layout import StreamLayout
from .loads import Load, table_load
from .placement import allocate, item_words
from .program import BlockInfo
from .tiling import PoolTile, Tile
from .tokens import InstructionList, TokenCounter
from .transfers import Transfers
from .units import LayerPlan, Plan, Table, Unit
from .views import View, stream_view

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
        self.arrived = TokenCounter(isa.Semaphore.ARRIVED, isa.Engine.FILL)
        self.consumed = TokenCounter(isa.Semaphore.CONSUMED, isa.Engine.DMA)
        self.fills = 0
        self.written: dict[str, list[BlockInfo]] = {}
        """Per external tensor: where its blocks were written, in order."""
        self._placed: list[dict[Table, int]] = []
        self._tables_loaded = 0
        """Units whose tables are loaded."""
        self._loads = dict.fromkeys(Table, 0)
        """Loads of each streamed table so far."""
        self._free: dict[Table, list[tuple[TokenCounter, int]]] = {table: [] for table in Table}
        """The tokens that say that the place of each of these loads is free again."""
        self._compute_needs = self._post_needs = 0
        """Tokens of loads that the engines need in the present unit."""
        self._configured: dict[str, int] = {}
        self._last_post: dict[str, int] | None = None
        self._released_post: dict[str, int] | None = None
        self._transfers: Transfers | None = None
        self._block = 0
        self.parts = {c.tensor: c.sources for c in network.concatenations}
        self.tokens: dict[str, list[tuple[int, int]]] = {}
        """Per plane tensor: (rows finished, READY tokens that say so), ascending."""

    def emit_image(
        self, image_address: int, result_address: int, placed: list[dict[Table, int]]
    ) -> None:
        """All instructions of an image, which lies at ``image_address`` if it is small."""
        if self.network.image.name not in self.addresses.external:
            self._load_image(image_address)
        self._placed = placed
        units = self.plan.units
        for index, unit in enumerate(units):
            self._load_tables(index)
            final = index + 1 == len(units)
            last_of_layer = final or units[index + 1].plan is not unit.plan
            if unit.part is None:
                post = self._emit_unit(index, last_of_layer)
            else:
                post = self._emit_part(index, last_of_layer)
            self._finish(unit, post)
        self._release_all()
        self._store_result(result_address)

    def _finish(self, unit: Unit, post: dict[str, int] | None) -> None:
        """Remember when the streamed tables of a unit may be overwritten: when it is done.

        The weights of a part of a window when the array has taken them, all else when the results
        of its channel tiles have passed the post engine.
        """
        freed = [t for t in Table if unit.frees(t) and not self.plan.is_resident(unit, t)]
        if unit.part is not None and Table.WEIGHTS in freed:
            freed.remove(Table.WEIGHTS)
            self._free[Table.WEIGHTS].append((self.consumed, self.consumed.signalled))
        if freed and post is not None:
            released = self._release(post)
            for table in freed:
                self._free[table].append((self.released, released))

    def _release(self, post: dict[str, int]) -> int:
        """Make the last POST signal that it is finished; returns the count of such tokens."""
        if post is not self._released_post:
            self.released.signal(post)
            self._released_post = post
        return self.released.signalled

    def _release_all(self) -> int:
        """Likewise for the last POST of all so far."""
        return 0 if self._last_post is None else self._release(self._last_post)

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

    def _load_tables(self, index: int) -> None:
        """Load the streamed tables of a unit, if there is one and they are not loaded.

        Each comes where the load of such a table before the last one went.
        """
        if index != self._tables_loaded:
            return
        self._tables_loaded += 1
        if index == len(self.plan.units) or not self.plan.streams(self.plan.units[index]):
            return
        unit, bases = self.plan.units[index], self._placed[index]
        tag = unit.plan.tag
        loads = {
            table: found
            for table in Table
            if not self.plan.is_resident(unit, table)
            and (found := self.unit_loads(table, unit, bases))
        }
        wait = 0
        for table in loads:
            number = self._loads[table] - 2
            self._loads[table] += 1
            if number >= 0:
                counter, count = self._free[table][number]
                wait |= counter.require(count, self.program, tag)
        instruction: dict[str, int] = {}
        for table, load in ((table, load) for table, found in loads.items() for load in found):
            external = self.image.append(f"streamed {table.value}", load.words)
            instruction = self.program.append(isa.Opcode.DMA, tag, load.fields(external))
            instruction["wait"], wait = wait, 0
        if not loads:
            return
        if unit.plan.tables is not None:
            self.loaded_compute.signal(instruction)
        if not unit.part:
            self.loaded_post.signal(instruction)

    def unit_loads(self, table: Table, unit: Unit, bases: dict[Table, int]) -> list[Load]:
        """What loads a unit's table."""
        load = table_load(table, unit, bases, self.config)
        return [] if load is None else [load]

    def _emit_unit(self, index: int, last_of_layer: bool) -> dict[str, int]:
        """All instructions of a unit; returns the last POST."""
        unit, bases = self.plan.units[index], self._placed[index]
        self._compute_needs = self.loaded_compute.signalled
        self._post_needs = self.loaded_post.signalled
        self._configured: dict[str, int] = {}
        blocks = self.addresses.blocks.get(unit.plan.tag)
        if blocks is not None:
            return self._emit_blocks(index, blocks, last_of_layer)
        plan = unit.plan
        views = self._whole_views(plan)
        post: dict[str, int] = {}
        every = -(-len(plan.tiles) // READY_SIGNALS)
        # While this unit is computed.
        self._load_tables(index + 1)
        for number, tile in enumerate(plan.tiles):
            post = self._emit_tile(unit, bases, tile, self._whole_source(plan), 0, views)
            final = number + 1 == len(plan.tiles)
            partial = plan.tables is not None and (number + 1) % every == 0
            if last_of_layer and plan.plane_output is not None and (final or partial):
                pool_h = plan.shape.pool[0] if plan.shape is not None else 1
                whole_row = plan.shape is None or tile.x + tile.width >= plan.shape.output[1]
                rows = (tile.y + (tile.height if whole_row else 0)) // pool_h
                self._signal_rows(plan, plan.layer.output_shape[0] if final else rows, post)
        return post

    def _emit_part(self, index: int, last_of_layer: bool) -> dict[str, int] | None:
        """One part of the window of one channel tile; returns the POST after the last part."""
        unit, bases = self.plan.units[index], self._placed[index]
        plan, (tile,) = unit.plan, unit.plan.tiles
        assert plan.tables is not None
        assert unit.part is not None
        part = plan.tables.parts[unit.part]
        self._compute_needs = self.loaded_compute.signalled
        self._post_needs = self.loaded_post.signalled
        self._load_tables(index + 1)
        source = self._whole_source(plan)
        assert source is not None
        self._append_fill(plan, *part_fields(part.part, source), 0)
        weights = bases[Table.WEIGHTS]
        compute = self._emit_compute(unit, tile, range(1), part.passes, bases, weights)
        self.consumed.signal(compute)
        if not unit.ends_group:
            return None
        post = self._emit_posts(unit, bases, tile, self._whole_views(plan))
        if last_of_layer and plan.plane_output is not None:
            self._signal_rows(plan, plan.layer.output_shape[0], post)
        return post

    def _emit_blocks(self, index: int, blocks: BlockPlan, last_of_layer: bool) -> dict[str, int]:
        """A unit of a layer that reads or writes the external memory, block by block."""
        unit, bases = self.plan.units[index], self._placed[index]
        plan, count = unit.plan, len(blocks.blocks)
        transfers = self._transfers_of(plan, blocks)
        whole = self._whole_views(plan)
        post: dict[str, int] = {}
        every = -(-count // READY_SIGNALS)
        for place, block in enumerate(blocks.blocks):
            number = self._block
            self._block += 1
            transfers.load(number + 1)
            if place == 0:
                self._load_tables(index + 1)
            views = PostViews(
                residual=transfers.residual_view(number) or whole.residual,
                stream=transfers.stream_view(number, unit) or whole.stream,
                codes=transfers.codes_view(number, unit) or whole.codes,
            )
            self._post_needs = max(self._post_needs, transfers.writable(number))
            first_post = len(self.program.instructions)
            for tile in block.tiles:
                source = transfers.source_view(number) or self._whole_source(plan)
                arrival = transfers.arrival(number)
                post = self._emit_tile(unit, bases, tile, source, arrival, views)
            transfers.store(number, unit, self._release(post))
            self._note(blocks, unit, block, views, first_post)
            if blocks.output is None and last_of_layer and plan.plane_output is not None:
                final = place + 1 == count
                if final or (place + 1) % every == 0:
                    left = (later.outputs.y for later in blocks.blocks[place + 1 :])
                    rows = min(left, default=plan.layer.output_shape[0])
                    self._signal_rows(plan, rows, post)
        return post

    def _transfers_of(self, plan: LayerPlan, blocks: BlockPlan) -> Transfers:
        """Those of the layer that is emitted."""
        if self._transfers is None or self._transfers.layer is not plan:
            self._block = 0
            self._transfers = Transfers(
                plan,
                [unit for unit in self.plan.units if unit.plan is plan],
                blocks,
                self.addresses,
                self.config,
                self.program,
                arrived=self.arrived,
                stored=self.loaded_post,
                released=self.released,
                release_all=self._release_all,
            )
        return self._transfers

    def _note(
        self, blocks: BlockPlan, unit: Unit, block: Block, views: PostViews, first: int
    ) -> None:
        """Remember where a block of external tensors was written, for who checks it."""
        layer = unit.plan.layer
        written: dict[str, View | None] = {}
        if blocks.output is not None and layer.outputs is not None:
            written[layer.outputs.tensor] = views.codes
        if blocks.stream is not None and isinstance(layer, ConvolutionLayer):
            assert layer.stream is not None
            written[layer.stream.tensor] = views.stream
        posts = sum(opcode is isa.Opcode.POST for opcode, _ in self.program.instructions[first:])
        for tensor, view in written.items():
            assert view is not None
            info = BlockInfo(
                y=block.outputs.y,
                x=block.outputs.x,
                height=block.outputs.height,
                width=block.outputs.width,
                first=unit.first,
                count=unit.count,
                base=view.base,
                pixel_stride=view.pixel,
                row_stride=view.row,
                posts=posts,
            )
            self.written.setdefault(tensor, []).append(info)

    def _whole_views(self, plan: LayerPlan) -> PostViews:
        """The tensors that the post engine reads and writes, where they are on chip as a whole."""
        layer, addresses = plan.layer, self.addresses
        residual = stream = codes = None
        if not isinstance(layer, ConvolutionLayer):
            assert isinstance(plan.source, StreamLayout)
            residual = self._whole_stream(layer.source, plan.source)
        elif layer.residual is not None and plan.residual_source is not None:
            residual = self._whole_stream(layer.residual.tensor, plan.residual_source)
        if isinstance(layer, ConvolutionLayer) and plan.stream_output is not None:
            assert layer.stream is not None
            stream = self._whole_stream(layer.stream.tensor, plan.stream_output)
        layout = plan.plane_output
        if layout is not None and layer.outputs is not None:
            base = addresses.planes.get(layer.outputs.tensor)
            if base is not None:
                codes = View(base, layout.pixel_stride, layout.row_stride, channel=-layout.before)
        return PostViews(residual, stream, codes)

    def _whole_stream(self, name: str, layout: StreamLayout) -> View | None:
        base = self.addresses.streams.get(name)
        return None if base is None else stream_view(base, layout)

    def _whole_source(self, plan: LayerPlan) -> View | None:
        """The input where it is on chip as a whole, in activation words; None: it is a stream."""
        if isinstance(plan.source, StreamLayout):
            return None
        if plan.source is None:
            pixel = item_words(self.config)
            return View(self.addresses.image, pixel, pixel * self.network.image.width)
        base = self.addresses.planes[plan.layer.source] // 2
        return View(base, plan.source.pixel_stride // 2, plan.source.row_stride // 2)

    def _emit_posts(
        self, unit: Unit, bases: dict[Table, int], tile: Tile, views: PostViews
    ) -> dict[str, int]:
        """POST of a tile, with POST_CONFIG where something changes; returns the last one."""
        plan = unit.plan
        wait = self.loaded_post.require(self._post_needs, self.program, plan.tag)
        post: dict[str, int] = {}
        for piece in post_pieces(unit):
            fields = config_fields(plan, bases, tile, piece[2], views, self.config)
            if fields != self._configured:
                config = self.program.append(isa.Opcode.POST_CONFIG, plan.tag, fields)
                config["wait"], wait = wait, 0
                self._configured = fields
            fields = post_fields(unit, bases, tile, piece, views, self.addresses.raw, self.config)
            post = self.program.append(isa.Opcode.POST, plan.tag, fields)
            post["wait"], wait = wait, 0
        self._last_post = post
        return post

    def _signal_rows(self, plan: LayerPlan, rows: int, post: dict[str, int]) -> None:
        """Tell FILL that so many rows of the layer's output are complete."""
        assert plan.layer.outputs is not None
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

    def _emit_tile(
        self,
        unit: Unit,
        bases: dict[Table, int],
        tile: Tile,
        source: View | None,
        arrival: int,
        views: PostViews,
    ) -> dict[str, int]:
        """FILL, COMPUTE and POST of a tile; returns the POST.

        If a tile takes several COMPUTEs, POST comes after the first one: the queue of vectors does
        not hold those of all.
        """
        if unit.plan.tables is None or source is None:
            return self._emit_posts(unit, bases, tile, views)
        post: dict[str, int] | None = None
        for rows, fields, arguments in self._pieces(unit, tile, source, bases):
            self._append_fill(unit.plan, rows, fields, arrival)
            self._emit_compute(unit, *arguments)
            if post is None:
                post = self._emit_posts(unit, bases, tile, views)
        assert post is not None
        return post

    def _pieces(
        self, unit: Unit, tile: Tile, source: View, bases: dict[Table, int]
    ) -> Iterator[tuple[int, dict[str, int], tuple[Tile, range, range, dict[Table, int], int]]]:
        """Rows and fields of each FILL of a tile, and the arguments of its COMPUTE.

        One for the whole tile, or, for each channel tile of the unit, one for each part of the
        window or each piece of the pool window.
        """
        plan, tables = unit.plan, unit.plan.tables
        assert tables is not None
        weights, stride = bases[Table.WEIGHTS], plan.need(Table.WEIGHTS)
        passes = range(len(tables.passes))
        if not tables.parts and not plan.pieces:
            fill = fill_fields(plan, tile, source)
            yield *fill, (tile, range(unit.count), passes, bases, weights)
            return
        for channel in range(unit.count):
            channels, own = range(channel, channel + 1), weights + channel * stride
            for piece in plan.pieces:
                place = Tile(tile.y + piece.y, tile.x + piece.x, piece.height, piece.width)
                yield *fill_fields(plan, place, source), (place, channels, passes, bases, own)
            for part in tables.parts:
                words = own + part.weights.start
                fill = part_fields(part.part, source)
                yield *fill, (tile, channels, part.passes, bases, words)

    def _append_fill(
        self, plan: LayerPlan, rows: int, fields: dict[str, int], arrival: int
    ) -> None:
        """A FILL that needs the first ``rows`` rows of its source; fields left out are zero.

        ``arrival`` is the ARRIVED token that it needs instead if its source is a block.
        """
        assert isinstance(plan.layer, ConvolutionLayer)
        half = self.fills % 2
        counter, required = self.arrived, arrival
        if not arrival:
            counter, required = self.ready, self._ready_tokens(plan.layer.source, rows)
        names = (field.name for field in isa.INSTRUCTION_FIELDS[isa.Opcode.FILL])
        fill = self.program.append(
            isa.Opcode.FILL,
            plan.tag,
            {"wait": 0, **dict.fromkeys(names, 0), **fields, "half": half},
        )
        # SYNCs that collect the missing tokens must come before the FILL.
        self.program.instructions.pop()
        fill["wait"] = counter.require(required, self.program, plan.tag)
        self.program.instructions.append((isa.Opcode.FILL, fill))
        if self.fills >= 2:
            fill["wait"] |= 1 << (isa.Semaphore.FREED_0 + half)
        fill["signal"] |= 1 << (isa.Semaphore.FILLED_0 + half)

    def _ready_tokens(self, tensor: str, rows: int) -> int:
        """READY tokens that say that the first ``rows`` rows of a tensor are there."""
        return max(
            next(count for finished, count in self.tokens[part] if finished >= rows)
            for part in self.parts.get(tensor, (tensor,))
        )

    # COMPUTE -------------------------------------------------------------------------------------

    def _emit_compute(
        self,
        unit: Unit,
        tile: Tile,
        channels: range,
        passes: range,
        bases: dict[Table, int],
        weights: int,
    ) -> dict[str, int]:
        """A COMPUTE of these channel tiles of the unit, and of these passes of the layer.

        ``weights`` is the first weight word of the first channel tile; returns the instruction.
        """
        plan = unit.plan
        shape, tables = plan.shape, plan.tables
        assert shape is not None
        assert tables is not None
        half = self.fills % 2
        self.fills += 1
        row = shape.row_granules(plan.tile_width) * shape.stride[0]
        pixel = shape.pixel_granules * shape.stride[1]
        # Pieces of a pool window are rows, or parts of one, of a window that spans the tile.
        pool_h, pool_w = (1, 1) if plan.pieces else shape.pool
        pixels, outer_x = tile.height * tile.width, tile.width // pool_w
        outer, inner = (row * pool_h, pixel * pool_w), (row, pixel)
        if isinstance(tile, PoolTile):
            # Windows that overlap: the pixels of each, and their stride is that of the outputs.
            pool_h, pool_w = tile.window
            pixels, outer_x = pixels * pool_h * pool_w, tile.width
            inner = shape.row_granules(plan.tile_width), shape.pixel_granules
        wait = self.loaded_compute.require(self._compute_needs, self.program, plan.tag)
        return self.program.append(
            isa.Opcode.COMPUTE,
            plan.tag,
            {
                "wait": wait | 1 << (isa.Semaphore.FILLED_0 + half),
                "signal": 1 << (isa.Semaphore.FREED_0 + half),
                "half": half,
                "tiles": len(channels),
                "pixels": pixels,
                "pass_first": bases[Table.PASSES] + passes.start,
                "passes": len(passes),
                "weight_base": weights,
                "weight_stride": plan.need(Table.WEIGHTS) if len(channels) > 1 else 0,
                "coefficient_base": bases[Table.COEFFICIENTS]
                + channels.start * len(tables.passes)
                + passes.start,
                "partial": int(passes.stop < len(tables.passes)),
                "inner_x": pool_w,
                "inner_y": pool_h,
                "outer_x": outer_x,
                "stride_inner_x": inner[1],
                "stride_inner_y": inner[0],
                "stride_outer_x": outer[1],
                "stride_outer_y": outer[0],
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
