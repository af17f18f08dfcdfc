"""Where the blocks of a layer lie on chip, and how their rectangles are transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hw.config import AcceleratorConfig
from hw.isa import DmaTarget
from hw.memory.packing import EntryFormat, entry_formats

from .blocks import Block, Rectangle, block_cuts, cut_blocks
from .layout import MemoryFull, PlaneLayout, RegionAllocator
from .program import ProgramError
from .units import LayerPlan

__all__ = ["BlockPlan", "External", "plan_blocks", "transfer_fields"]

RUN_OVERHEAD = 6
"""Words that a run of a transfer costs beyond its own."""


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


def plan_blocks(
    plan: LayerPlan,
    index: int,
    touched: Mapping[str, bool],
    channel_tiles: int,
    config: AcceleratorConfig,
    memories: tuple[RegionAllocator, RegionAllocator],
) -> BlockPlan | None:
    """The cheapest blocks of a layer that fit what its tensors leave of the activation memory.

    Args:
        plan: The layer.
        index: Its place among the layers: when its blocks live.
        touched: Whether its "source" and "output" lie outside.
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
    activation, _ = memories
    sizes = _Sizes(plan, touched, channel_tiles, config)
    cuts = sorted(block_cuts(plan), key=lambda cut: sizes.cost(cut_blocks(plan, cut)))
    full: MemoryFull | None = None
    for cut in cuts:
        blocks = cut_blocks(plan, cut)
        before = list(activation.regions), activation.peak
        try:
            return _placed(plan, index, blocks, sizes, activation)
        except MemoryFull as error:
            activation.regions, activation.peak = before
            full = error
    assert full is not None
    raise full


class _Sizes:
    """Words of blocks."""

    def __init__(
        self,
        plan: LayerPlan,
        touched: Mapping[str, bool],
        channel_tiles: int,
        config: AcceleratorConfig,
    ) -> None:
        source, output = plan.source, plan.plane_output
        self.source_pixel = self.output_pixel = 0
        if touched["source"]:
            item = max(1, 32 // config.array.word_width)
            self.source_pixel = (
                source.pixel_stride // 2 if isinstance(source, PlaneLayout) else item
            )
        if touched["output"]:
            assert output is not None
            self.output_pixel = local_layout(output, channel_tiles).pixel_stride // 2

    def source(self, blocks: tuple[Block, ...]) -> int:
        return self.source_pixel * max(block.source.pixels for block in blocks)

    def output(self, blocks: tuple[Block, ...]) -> int:
        return self.output_pixel * max(block.outputs.pixels for block in blocks)

    def cost(self, blocks: tuple[Block, ...]) -> int:
        """Words that are loaded, and those that nothing hides: the first load, the last store."""
        loads = sum(block.source.pixels * self.source_pixel for block in blocks)
        runs = sum(block.source.height + block.outputs.height for block in blocks)
        first = blocks[0].source.pixels * self.source_pixel
        last = blocks[-1].outputs.pixels * self.output_pixel
        return loads + runs * RUN_OVERHEAD + first + last


def _placed(
    plan: LayerPlan,
    index: int,
    blocks: tuple[Block, ...],
    sizes: _Sizes,
    activation: RegionAllocator,
) -> BlockPlan:
    def places(what: str, words: int) -> tuple[int, int] | None:
        if not words:
            return None
        owner = f"a block of the {what} of layer {plan.layer.name}"
        first, second = (activation.allocate(owner, words, index, index) for _ in range(2))
        return first, second

    return BlockPlan(
        blocks=blocks,
        source=places("input", sizes.source(blocks)),
        output=places("output", sizes.output(blocks)),
    )


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


def external_span(layout: PlaneLayout, first: int, count: int, config: AcceleratorConfig):
    """First external word of channel blocks in a pixel, and the words that they take.

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
            f"channel blocks of a tensor in the external memory must begin at its words: "
            f"granules {begin} to {end} must be multiples of {step}"
        )
    return form.words_of(begin // 2), form.words_of((end - begin) // 2)
