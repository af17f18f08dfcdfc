"""Emission: from a plan to addresses, packed tables and instructions."""

from __future__ import annotations

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw import isa
from hw.config import AcceleratorConfig

from .block_plan import BlockPlan
from .emit_compute import Piece, compute_fields, part_piece, rows_needed, tile_pieces
from .emit_ends import image_loads, result_store
from .emit_post import PostViews, config_fields, post_fields, post_pieces
from .image import MemoryImage
from .loads import Load, table_load
from .placement import allocate
from .readiness import READY_SIGNALS, Readiness
from .table_loads import TableLoads
from .tiling import Tile
from .tokens import InstructionList, TokenCounter
from .transfers import Transfers
from .units import LayerPlan, Plan, Table, Unit
from .views import View
from .whole_views import WholeViews
from .written import WrittenBlocks

__all__ = ["Emitter"]


class Emitter:
    """Emits the per-image instructions of one plan, and the tables that they load.

    Args:
        network: The network.
        plan: Its plan.
        config: Sizes.
        image: Gets the tables that are loaded.
        placed: On-chip base of every table of every unit.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        plan: Plan,
        config: AcceleratorConfig,
        image: MemoryImage,
        placed: list[dict[Table, int]],
    ) -> None:
        self.network = network
        self.plan = plan
        self.config = config
        self.program = InstructionList()
        self.addresses = allocate(network, plan, config)
        self.written = WrittenBlocks()
        """Where blocks of external tensors were written."""
        self.readiness = Readiness(
            {entry.tensor: entry.sources for entry in network.concatenations}, self.program
        )
        self._placed = placed
        self._views = WholeViews(network, self.addresses, config)
        self._loaded_post = TokenCounter(isa.Semaphore.LOADED_POST, isa.Engine.POST)
        self._released = TokenCounter(isa.Semaphore.RELEASED, isa.Engine.DMA)
        self._arrived = TokenCounter(isa.Semaphore.ARRIVED, isa.Engine.FILL)
        self._consumed = TokenCounter(isa.Semaphore.CONSUMED, isa.Engine.DMA)
        self._tables = TableLoads(
            plan,
            placed,
            image,
            self.program,
            loads_of=self.unit_loads,
            loaded_post=self._loaded_post,
            released=self._released,
            consumed=self._consumed,
        )
        self._fills = 0
        self._image_rows: list[tuple[int, int]] = []
        """Of the image on chip: (rows loaded, ARRIVED tokens that say so), ascending."""
        self._compute_needs = self._post_needs = 0
        """Tokens of loads that the engines need in the present unit."""
        self._configured: dict[str, int] = {}
        self._last_post: dict[str, int] | None = None
        self._released_post: dict[str, int] | None = None
        self._transfers: Transfers | None = None
        self._block = 0

    def emit_image(self, image_address: int, result_address: int) -> None:
        """All instructions of an image, which lies at ``image_address`` if it is small."""
        if self.network.image.name not in self.addresses.external:
            self._load_image(image_address)
        units = self.plan.units
        for index, unit in enumerate(units):
            self._tables.load(index)
            self._compute_needs = self._tables.loaded_compute.signalled
            self._post_needs = self._loaded_post.signalled
            final = index + 1 == len(units)
            last_of_layer = final or units[index + 1].plan is not unit.plan
            if unit.part is None:
                post = self._emit_unit(index, last_of_layer)
            else:
                post = self._emit_part(index, last_of_layer)
            self._tables.finish(unit, None if post is None else self._release_all)
        self._release_all()
        self._store_result(result_address)

    def unit_loads(self, table: Table, unit: Unit, bases: dict[Table, int]) -> list[Load]:
        """What loads a unit's table."""
        load = table_load(table, unit, bases, self.config)
        return [] if load is None else [load]

    def _release_all(self) -> int:
        """Make the last POST signal that it is finished; returns the count of such tokens."""
        if self._last_post is None:
            return 0
        if self._last_post is not self._released_post:
            self._released.signal(self._last_post)
            self._released_post = self._last_post
        return self._released.signalled

    def _load_image(self, image_address: int) -> None:
        unit = self.plan.units[0]
        needed: list[int] = []
        if unit.plan.tag not in self.addresses.blocks:
            needed = rows_needed(unit, self._views.source(unit.plan), self._placed[0])
        loads = image_loads(self.network, image_address, self.addresses, self.config, needed)
        for rows, fields in loads:
            load = self.program.append(isa.Opcode.DMA, 0, fields)
            # Not READY, which POST signals: the two engines finish in no order.
            self._image_rows.append((rows, self._arrived.signal(load)))

    def _emit_unit(self, index: int, last_of_layer: bool) -> dict[str, int]:
        """All instructions of a unit; returns the last POST."""
        unit, bases = self.plan.units[index], self._placed[index]
        self._configured = {}
        blocks = self.addresses.blocks.get(unit.plan.tag)
        if blocks is not None:
            return self._emit_blocks(index, blocks, last_of_layer)
        plan = unit.plan
        views = self._views.post(plan)
        post: dict[str, int] = {}
        every = -(-len(plan.tiles) // READY_SIGNALS)
        # While this unit is computed.
        self._tables.load(index + 1)
        for number, tile in enumerate(plan.tiles):
            post = self._emit_tile(unit, bases, tile, self._views.source(plan), 0, views)
            final = number + 1 == len(plan.tiles)
            partial = plan.tables is not None and (number + 1) % every == 0
            if last_of_layer and plan.plane_output is not None and (final or partial):
                rows = plan.layer.output_shape[0]
                if not final:
                    # Tiles that are cut where windows change come in no order of rows.
                    pool_h = plan.shape.pool[0] if plan.shape is not None else 1
                    rows = min(left.y for left in plan.tiles[number + 1 :]) // pool_h
                self._signal_rows(plan, rows, post)
        return post

    def _emit_part(self, index: int, last_of_layer: bool) -> dict[str, int] | None:
        """One part of the windows of a tile, for one channel tile; returns the POST after the last
        part."""
        unit, bases = self.plan.units[index], self._placed[index]
        plan, tile = unit.plan, unit.plan.tiles[unit.tile]
        self._tables.load(index + 1)
        source = self._views.source(plan)
        assert source is not None
        self._consumed.signal(
            self._emit_piece(unit, part_piece(unit, tile, source, bases), bases, 0)
        )
        if not unit.ends_group:
            return None
        post = self._emit_posts(unit, bases, tile, self._views.post(plan))
        if last_of_layer and plan.plane_output is not None:
            self._signal_rows(plan, plan.layer.output_shape[0], post)
        return post

    def _emit_blocks(self, index: int, blocks: BlockPlan, last_of_layer: bool) -> dict[str, int]:
        """A unit of a layer that reads or writes the external memory, block by block."""
        unit, bases = self.plan.units[index], self._placed[index]
        plan, count = unit.plan, len(blocks.blocks)
        transfers = self._transfers_of(plan, blocks)
        whole = self._views.post(plan)
        post: dict[str, int] = {}
        every = -(-count // READY_SIGNALS)
        for place, block in enumerate(blocks.blocks):
            number = self._block
            self._block += 1
            transfers.load(number + 1)
            if place == 0:
                self._tables.load(index + 1)
            views = PostViews(
                residual=transfers.residual_view(number) or whole.residual,
                stream=transfers.stream_view(number, unit) or whole.stream,
                codes=transfers.codes_view(number, unit) or whole.codes,
            )
            self._post_needs = max(self._post_needs, transfers.writable(number))
            first_post = len(self.program.instructions)
            for tile in block.tiles:
                source = transfers.source_view(number) or self._views.source(plan)
                arrival = transfers.arrival(number)
                post = self._emit_tile(unit, bases, tile, source, arrival, views)
            transfers.store(number, unit, self._release_all())
            self.written.note(blocks, unit, block, views, self.program, first_post)
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
                arrived=self._arrived,
                stored=self._loaded_post,
                released=self._released,
                release_all=self._release_all,
            )
        return self._transfers

    def _signal_rows(self, plan: LayerPlan, rows: int, post: dict[str, int]) -> None:
        """Tell FILL that so many rows of the layer's output are complete."""
        assert plan.layer.outputs is not None
        self.readiness.signal(plan.layer.outputs.tensor, rows, post, plan.tag)

    def _emit_posts(
        self, unit: Unit, bases: dict[Table, int], tile: Tile, views: PostViews
    ) -> dict[str, int]:
        """POST of a tile, with POST_CONFIG where something changes; returns the last one."""
        plan = unit.plan
        wait = self._loaded_post.require(self._post_needs, self.program, plan.tag)
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
        for piece in tile_pieces(unit, tile, source, bases):
            self._emit_piece(unit, piece, bases, arrival)
            if post is None:
                post = self._emit_posts(unit, bases, tile, views)
        assert post is not None
        return post

    def _emit_piece(
        self, unit: Unit, piece: Piece, bases: dict[Table, int], arrival: int
    ) -> dict[str, int]:
        """FILL and COMPUTE; returns the COMPUTE.

        ``arrival`` is the ARRIVED token that FILL needs if its source is a block; if that is the
        image, it needs one, too.
        """
        plan, half = unit.plan, self._fills % 2
        assert isinstance(plan.layer, ConvolutionLayer)
        counter, required = self._arrived, arrival
        if not arrival and plan.source is None:
            # 0: an entry that goes on from another one's tensors loads no image.
            required = next((count for rows, count in self._image_rows if rows >= piece.rows), 0)
        elif not arrival:
            counter = self.readiness.counter
            required = self.readiness.needed(plan.layer.source, piece.rows)
        wait = counter.require(required, self.program, plan.tag)
        if self._fills >= 2:
            wait |= 1 << (isa.Semaphore.FREED_0 + half)
        names = (field.name for field in isa.INSTRUCTION_FIELDS[isa.Opcode.FILL])
        filled, freed = isa.Semaphore.FILLED_0 + half, isa.Semaphore.FREED_0 + half
        tokens = {"wait": wait, "signal": 1 << filled, "half": half}
        fill = {**dict.fromkeys(names, 0), **piece.fill, **tokens}
        self.program.append(isa.Opcode.FILL, plan.tag, fill)
        self._fills += 1
        wait = self._tables.loaded_compute.require(self._compute_needs, self.program, plan.tag)
        tokens = {"wait": wait | 1 << filled, "signal": 1 << freed, "half": half}
        fields = compute_fields(plan, piece, bases)
        return self.program.append(isa.Opcode.COMPUTE, plan.tag, {**fields, **tokens})

    def _store_result(self, result_address: int) -> None:
        final = self.plan.layers[-1]
        fields = result_store(final, result_address, self.addresses, self.config)
        wait = self._released.require(self._released.signalled, self.program, final.tag)
        self.program.append(isa.Opcode.DMA, final.tag, {**fields, "wait": wait})
