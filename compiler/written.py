"""Where blocks of external tensors were written on chip, for who checks their values."""

from __future__ import annotations

from golden.integer_network import ConvolutionLayer
from hw import isa

from .block_plan import BlockPlan
from .blocks import Block
from .emit_post import PostViews
from .program import BlockInfo
from .tokens import InstructionList
from .units import Unit
from .views import View

__all__ = ["WrittenBlocks"]


class WrittenBlocks:
    """Notes of blocks, in the order in which they are written."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[BlockInfo]] = {}

    def of(self, tensor: str) -> tuple[BlockInfo, ...]:
        """None at all if the tensor is on chip as a whole."""
        return tuple(self._blocks.get(tensor, ()))

    def note(
        self,
        blocks: BlockPlan,
        unit: Unit,
        block: Block,
        views: PostViews,
        program: InstructionList,
        first: int,
    ) -> None:
        """A block that the POSTs among the instructions from number ``first`` on write."""
        layer = unit.plan.layer
        written: dict[str, View | None] = {}
        if blocks.output is not None and layer.outputs is not None:
            written[layer.outputs.tensor] = views.codes
        if blocks.stream is not None and isinstance(layer, ConvolutionLayer):
            assert layer.stream is not None
            written[layer.stream.tensor] = views.stream
        posts = sum(opcode is isa.Opcode.POST for opcode, _ in program.instructions[first:])
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
            self._blocks.setdefault(tensor, []).append(info)
