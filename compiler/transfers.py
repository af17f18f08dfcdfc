"""Loads and stores of blocks, and the semaphores that order them with the engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from golden.integer_network import ConvolutionLayer
from hw import isa
from hw.config import AcceleratorConfig

from .block_plan import (
    BlockPlan,
    external_span,
    local_layout,
    transfer_fields,
    vector_words,
)
from .blocks import Block, Rectangle
from .layout import PlaneLayout, StreamLayout
from .placement import Addresses, item_words
from .tokens import InstructionList, TokenCounter
from .units import LayerPlan, Unit
from .views import View

__all__ = ["Transfers"]

ACTIVATIONS, STREAMS = isa.DmaTarget.ACTIVATIONS, isa.DmaTarget.STREAMS


class Transfers:
    """Moves the blocks of one layer: all of them for each of its units, numbered through.

    Block n uses place n mod 2 of the layer. It is loaded when the post engine is done with block
    n - 2, which lay there, and FILL waits until it has arrived. What block n has written is stored
    when the post engine is done with it, and block n + 2 is written when that is stored. The DMA
    engine works in order, so a later layer reads what was stored.

    Args:
        layer: The layer.
        units: Its units.
        program: Where instructions are appended.
        arrived: Loads, for FILL.
        stored: Stores (and loads of tables), for POST.
        released: Finished POSTs, for DMA.
        release_all: Signals that all POSTs so far are finished; returns the count of tokens.
    """

    def __init__(
        self,
        layer: LayerPlan,
        units: Sequence[Unit],
        plan: BlockPlan,
        addresses: Addresses,
        config: AcceleratorConfig,
        program: InstructionList,
        *,
        arrived: TokenCounter,
        stored: TokenCounter,
        released: TokenCounter,
        release_all: Callable[[], int],
    ) -> None:
        self.layer = layer
        self._plan = plan
        self._units = units
        self._vector_words = vector_words(config)
        self._loaded = 0
        self._addresses = addresses
        self._config = config
        self._program = program
        self._arrived = arrived
        self._stored = stored
        self._released = released
        # Both places may lie where the layers before read and wrote.
        self._free_from = [release_all()] * 2
        self._writable_from = [stored.signalled] * 2
        self._arrivals: list[int] = []
        self._residual_arrivals: list[int] = []

    def block(self, number: int) -> Block:
        return self._plan.blocks[number % len(self._plan.blocks)]

    def unit(self, number: int) -> Unit:
        return self._units[number // len(self._plan.blocks)]

    def load(self, last: int) -> None:
        """Load what the blocks up to ``last`` read, as far as there are so many."""
        while self._loaded < min(last + 1, len(self._units) * len(self._plan.blocks)):
            number, place = self._loaded, self._loaded % 2
            self._loaded += 1
            part, source = self.block(number), self._plan.source
            self._arrivals.append(0)
            self._residual_arrivals.append(0)
            # A unit whose channels have no residual reads none.
            blocks = self._residual_blocks(number)
            if source is None and not blocks:
                continue
            wait = self._released.require(self._free_from[place], self._program, self.layer.tag)
            if source is not None:
                outside = self._addresses.external[self.layer.layer.source]
                words = (0, outside.pixel)
                fields = transfer_fields(outside, part.source, words, self._source_pixel())
                command = self._append(ACTIVATIONS, fields, source[place], wait)
                self._arrivals[-1], wait = self._arrived.signal(command), 0
            if self._plan.residual is not None and blocks:
                name, pixels = self._read_stream(part)
                outside = self._addresses.external[name]
                span = (blocks.start * self._vector_words, len(blocks) * self._vector_words)
                fields = transfer_fields(outside, pixels, span, len(blocks))
                command = self._append(STREAMS, fields, self._plan.residual[place], wait)
                self._residual_arrivals[-1], wait = self._stored.signal(command), 0

    def _read_stream(self, block: Block) -> tuple[str, Rectangle]:
        """The stream that the layer reads, and its pixels for a block."""
        layer = self.layer.layer
        if not isinstance(layer, ConvolutionLayer):
            return layer.source, block.source
        assert layer.residual is not None
        assert block.residual is not None
        return layer.residual.tensor, block.residual

    def _residual_blocks(self, number: int) -> range:
        """Channel blocks of an external stream that a block's unit reads."""
        layer, unit = self.layer, self.unit(number)
        if self._plan.residual is None:
            return range(0)
        source = layer.source if layer.shape is None else layer.residual_source
        assert isinstance(source, StreamLayout)
        return range(unit.first, min(unit.first + unit.count, source.blocks))

    def arrival(self, number: int) -> int:
        """ARRIVED tokens that say that block ``number`` is there; 0: nothing is loaded."""
        return self._arrivals[number]

    def writable(self, number: int) -> int:
        """LOADED_POST tokens that say that block ``number`` may be written, and what it adds is
        there."""
        return max(self._writable_from[number % 2], self._residual_arrivals[number])

    def store(self, number: int, unit: Unit, finished: int) -> None:
        """Store what block ``number`` wrote; ``finished`` is the token of its last POST."""
        self._free_from[number % 2] = finished
        if self._plan.output is None and self._plan.stream is None:
            return
        place, part = number % 2, self.block(number).outputs
        wait = self._released.require(finished, self._program, self.layer.tag)
        if self._plan.output is not None:
            outputs, layout = self.layer.layer.outputs, self.layer.plane_output
            assert layout is not None
            assert outputs is not None
            outside = self._addresses.external[outputs.tensor]
            span = external_span(outputs.tensor, layout, unit.first, unit.count, self._config)
            entries = local_layout(layout, unit.count).pixel_stride // 2
            fields = transfer_fields(outside, part, span, entries)
            command = self._append(ACTIVATIONS, fields, self._plan.output[place], wait, store=1)
            self._writable_from[place], wait = self._stored.signal(command), 0
        if self._plan.stream is not None:
            layer = self.layer.layer
            assert isinstance(layer, ConvolutionLayer)
            assert layer.stream is not None
            outside = self._addresses.external[layer.stream.tensor]
            span = (unit.first * self._vector_words, unit.count * self._vector_words)
            fields = transfer_fields(outside, part, span, unit.count)
            command = self._append(STREAMS, fields, self._plan.stream[place], wait, store=1)
            self._writable_from[place] = self._stored.signal(command)

    def source_view(self, number: int) -> View | None:
        """Where FILL finds block ``number``; None if the input is on chip as a whole."""
        if self._plan.source is None:
            return None
        block, entries = self.block(number), self._source_pixel()
        return View(
            base=self._plan.source[number % 2],
            pixel=entries,
            row=entries * block.source.width,
            y=block.source.y,
            x=block.source.x,
        )

    def codes_view(self, number: int, unit: Unit) -> View | None:
        """Where POST writes block ``number``; None if the output is on chip as a whole."""
        layout = self.layer.plane_output
        if self._plan.output is None or layout is None:
            return None
        block = self.block(number)
        pixel = local_layout(layout, unit.count).pixel_stride
        return View(
            base=2 * self._plan.output[number % 2],
            pixel=pixel,
            row=pixel * block.outputs.width,
            y=block.outputs.y,
            x=block.outputs.x,
            channel=unit.first,
        )

    def residual_view(self, number: int) -> View | None:
        """Where POST reads block ``number``; None if the stream is on chip as a whole."""
        if self._plan.residual is None:
            return None
        _, pixels = self._read_stream(self.block(number))
        blocks = self._residual_blocks(number)
        return View(
            base=self._plan.residual[number % 2],
            pixel=len(blocks),
            row=len(blocks) * pixels.width,
            y=pixels.y,
            x=pixels.x,
            channel=blocks.start,
        )

    def stream_view(self, number: int, unit: Unit) -> View | None:
        """Where POST stores block ``number``; None if the stream is on chip as a whole."""
        if self._plan.stream is None:
            return None
        pixels = self.block(number).outputs
        return View(
            base=self._config.memory.stream_vectors + self._plan.stream[number % 2],
            pixel=unit.count,
            row=unit.count * pixels.width,
            y=pixels.y,
            x=pixels.x,
            channel=unit.first,
        )

    def _source_pixel(self) -> int:
        """Activation words of a pixel of the input."""
        source = self.layer.source
        if isinstance(source, PlaneLayout):
            return source.pixel_stride // 2
        return item_words(self._config)

    def _append(
        self,
        target: isa.DmaTarget,
        fields: dict[str, int],
        address: int,
        wait: int,
        *,
        store: int = 0,
    ) -> dict[str, int]:
        command = {"store": store, "target": target.value, "address": address, "wait": wait}
        return self._program.append(isa.Opcode.DMA, self.layer.tag, command | fields)
