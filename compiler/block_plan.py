"""Where the blocks of a layer lie on chip, and how their rectangles are transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hw.config import AcceleratorConfig
from hw.isa import DmaTarget
from hw.memory.packing import WORD, EntryFormat, entry_formats

from .blocks import Block, Rectangle, block_cuts, cut_blocks
from .layout import MemoryFull, PlaneLayout, RegionAllocator, StreamLayout
from .program import ProgramError
from .units import LayerPlan

__all__ = ["BlockPlan", "External", "plan_blocks", "transfer_fields"]

RUN_OVERHEAD = 14
"""Words that a run of a transfer counts beyond its own: more than it takes (decision 13)."""


@dataclass(frozen=True)
class External:
    """A tensor in the external memory, row by row."""

    base: int
    """First word."""
    pixel: int
    """Words of a pixel."""
    row: int
    """Words of a row."""

    def moved(self, offset: int) -> External:
        return replace(self, base=self.base + offset)


@dataclass(frozen=True)
class BlockPlan:
    """The blocks of a layer; places are pairs of first words that blocks use in turn."""

    blocks: tuple[Block, ...]
    source: tuple[int, int] | None = None
    """Activation words; None: the input is on chip as a whole."""
    output: tuple[int, int] | None = None
    """Likewise for the planes that are written."""
    residual: tuple[int, int] | None = None
    """Vectors of the stream memory: the residual, or the input of a stream layer."""
    stream: tuple[int, int] | None = None
    """Spilled vectors: the stream that is stored."""


def plan_blocks(
    plan: LayerPlan,
    index: int,
    touched: Mapping[str, bool],
    known: dict[int, list[tuple[Block, ...]]],
    channel_tiles: int,
    config: AcceleratorConfig,
    memories: tuple[RegionAllocator, RegionAllocator],
) -> BlockPlan | None:
    """The cheapest blocks of a layer that fit what its tensors leave of the activation memory.

    Args:
        plan: The layer.
        index: Its place among the layers: when its blocks live.
        touched: Whether its "source", "output", "residual" and "stream" lie outside.
        known: Ways to cut the layers so far, by tag; filled.
        channel_tiles: Most channel tiles that are computed at once.
        config: Sizes.
        memories: Activation memory and stream memory, with the tensors that live.

    Returns:
        None if no tensor of the layer lies outside.

    Raises:
        MemoryFull: Not even the smallest blocks fit.
    """
    if not any(touched.values()):
        return None
    if plan.tables is not None and plan.tables.parts and touched["source"]:
        raise ProgramError(
            f"layer {plan.layer.name} is filled in parts and must have its input on chip"
        )
    sizes = _Sizes(plan, touched, channel_tiles, config)
    if plan.tag not in known:
        known[plan.tag] = [cut_blocks(plan, cut) for cut in block_cuts(plan)]
    choices = known[plan.tag]
    full: MemoryFull | None = None
    smallest = max(choices, key=len)
    for blocks in sorted(choices, key=sizes.cost):
        unfit = sizes.check_spilled(blocks)
        if unfit is not None:
            full = unfit if blocks is smallest else full
            continue
        before = [(list(memory.regions), memory.peak) for memory in memories]
        try:
            return _placed(plan, index, blocks, sizes, memories)
        except MemoryFull as error:
            for memory, (regions, peak) in zip(memories, before, strict=True):
                memory.regions, memory.peak = regions, peak
            full = error if blocks is smallest else full
    assert full is not None
    raise full


class _Sizes:
    """Words and vectors of blocks."""

    def __init__(
        self,
        plan: LayerPlan,
        touched: Mapping[str, bool],
        channel_tiles: int,
        config: AcceleratorConfig,
    ) -> None:
        self._name = plan.layer.name
        self._spill = config.memory.spill_vectors
        self._is_stream_layer = plan.shape is None
        self._vector_words = vector_words(config)
        source, output = plan.source, plan.plane_output
        self._source = self._output = self._residual = self._stream = 0
        if touched["source"] and not self._is_stream_layer:
            item = max(1, WORD // config.array.word_width)
            self._source = source.pixel_stride // 2 if isinstance(source, PlaneLayout) else item
        if touched["output"]:
            assert output is not None
            self._output = local_layout(output, channel_tiles).pixel_stride // 2
        stream_source = source if self._is_stream_layer else plan.residual_source
        if touched["residual"] or (touched["source"] and self._is_stream_layer):
            assert isinstance(stream_source, StreamLayout)
            self._residual = min(channel_tiles, stream_source.blocks)
        if touched["stream"]:
            self._stream = channel_tiles

    def source(self, blocks: tuple[Block, ...]) -> int:
        return self._source * max(block.source.pixels for block in blocks)

    def output(self, blocks: tuple[Block, ...]) -> int:
        return self._output * max(block.outputs.pixels for block in blocks)

    def residual(self, blocks: tuple[Block, ...]) -> int:
        return self._residual * max(self._read(block).pixels for block in blocks)

    def stream(self, blocks: tuple[Block, ...]) -> int:
        return self._stream * max(block.outputs.pixels for block in blocks)

    def _read(self, block: Block) -> Rectangle:
        """Pixels of the stream that a block reads."""
        if self._is_stream_layer or block.residual is None:
            return block.source
        return block.residual

    def check_spilled(self, blocks: tuple[Block, ...]) -> MemoryFull | None:
        """What is wrong if two blocks of the stored stream do not fit the spilled vectors."""
        vectors = self.stream(blocks)
        if 2 * vectors <= self._spill or not vectors:
            return None
        return MemoryFull(
            f"two blocks of the stream of layer {self._name} must fit the spilled vectors: each "
            f"needs {vectors}, preset has {self._spill}",
            [],
        )

    def cost(self, blocks: tuple[Block, ...]) -> int:
        """Words that are loaded, and those that nothing hides: the first load, the last store."""
        words = self._vector_words

        def loads(block: Block) -> int:
            vectors = self._residual * self._read(block).pixels if self._residual else 0
            return block.source.pixels * self._source + vectors * words

        last = blocks[-1].outputs.pixels * (self._output + self._stream * words)
        runs = sum(block.source.height + block.outputs.height for block in blocks)
        total = sum(loads(block) for block in blocks)
        return total + runs * RUN_OVERHEAD + loads(blocks[0]) + last


def _placed(
    plan: LayerPlan,
    index: int,
    blocks: tuple[Block, ...],
    sizes: _Sizes,
    memories: tuple[RegionAllocator, RegionAllocator],
) -> BlockPlan:
    activation, stream = memories

    def places(memory: RegionAllocator, what: str, size: int) -> tuple[int, int] | None:
        if not size:
            return None
        owner = f"a block of the {what} of layer {plan.layer.name}"
        first, second = (memory.allocate(owner, size, index, index) for _ in range(2))
        return first, second

    spilled = sizes.stream(blocks)
    return BlockPlan(
        blocks=blocks,
        source=places(activation, "input", sizes.source(blocks)),
        output=places(activation, "output", sizes.output(blocks)),
        residual=places(stream, "streams", sizes.residual(blocks)),
        stream=(0, spilled) if spilled else None,
    )


def vector_words(config: AcceleratorConfig) -> int:
    """External words of a stream vector."""
    return -(-config.array.rows * config.datapath.stream_width // WORD)


def local_layout(layout: PlaneLayout, blocks: int) -> PlaneLayout:
    """Layout of pixels that hold ``blocks`` channel blocks of a tensor and nothing else."""
    order = layout.order[: blocks * layout.rows]
    order += (-1,) * (blocks * layout.rows - len(order))
    return replace(layout, order=order, before=0, after=0)


def transfer_fields(
    outside: External,
    part: Rectangle,
    words: tuple[int, int],
    entries: int,
) -> dict[str, int]:
    """Fields of the DMA command that moves a rectangle of a tensor.

    Args:
        outside: The tensor.
        part: Pixels.
        words: First word in each pixel, and words of each.
        entries: On-chip words of a pixel.
    """
    first, length = words
    fields = {
        "external": outside.base + part.y * outside.row + part.x * outside.pixel + first,
        "runs": 0,
        "run_stride": 0,
        "rows": part.height - 1,
        "row_stride": outside.row,
    }
    if length != outside.pixel:
        fields |= {"count": entries, "runs": part.width - 1, "run_stride": outside.pixel}
    elif part.width * outside.pixel == outside.row:
        fields |= {"count": part.pixels * entries, "rows": 0, "row_stride": 0}
    else:
        fields |= {"count": part.width * entries}
    return fields


def external_span(
    tensor: str, layout: PlaneLayout, first: int, count: int, config: AcceleratorConfig
) -> tuple[int, int]:
    """First external word of channel blocks in a pixel of a tensor, and the words that they take.

    Raises:
        ProgramError: They do not begin and end between words.
    """
    form: EntryFormat = entry_formats(config)[DmaTarget.ACTIVATIONS]
    begin = layout.block_granule(first)
    end = layout.block_granule(first + count)
    if first + count == layout.blocks and not layout.after:
        end = layout.pixel_stride
    step = 2 * form.entries
    if begin % step or end % step:
        raise ProgramError(
            f"tensor {tensor}: channel blocks in the external memory must begin and end between "
            f"its words, at multiples of {step} granules, not at {begin} and {end}"
        )
    return form.words_of(begin // 2), form.words_of((end - begin) // 2)
