"""Loads and stores of blocks, and the semaphores that order them with the engines."""

from __future__ import annotations

from collections.abc import Callable

from hw import isa
from hw.config import AcceleratorConfig

from .block_plan import BlockPlan, external_span, local_layout, transfer_fields
from .blocks import Block
from .layout import PlaneLayout
from .placement import Addresses, item_words
from .tokens import InstructionList, TokenCounter
from .units import LayerPlan, Unit
from .views import View

__all__ = ["Transfers"]


class Transfers:
    """Moves the blocks of one layer: all of them for each of its units, numbered through.

    Block n uses place n mod 2 of the layer. It is loaded when the post engine is done with block
    n - 2, which lay there, and FILL waits until it has arrived. What block n has written is stored
    when the post engine is done with it, and block n + 2 is written when that is stored. The DMA
    engine works in order, so a later layer reads what was stored.

    Args:
        layer: The layer.
        units: Its number of units.
        program: Where instructions are appended.
        arrived: Loads, for FILL.
        stored: Stores (and loads of tables), for POST.
        released: Finished POSTs, for DMA.
        release_all: Signals that all POSTs so far are finished; returns the count of tokens.
    """

    def __init__(
        self,
        layer: LayerPlan,
        units: int,
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
        self._count = units * len(plan.blocks)
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

    def block(self, number: int) -> Block:
        return self._plan.blocks[number % len(self._plan.blocks)]

    def load(self, last: int) -> None:
        """Load what the blocks up to ``last`` read, as far as there are so many."""
        places = self._plan.source
        while places is not None and self._loaded < min(last + 1, self._count):
            place = self._loaded % 2
            outside = self._addresses.external[self.layer.layer.source]
            part = self.block(self._loaded).source
            fields = transfer_fields(outside, part, (0, outside.pixel), self._source_pixel())
            wait = self._released.require(self._free_from[place], self._program, self.layer.tag)
            token = self._append(fields, places[place], self._arrived, wait, store=0)
            self._arrivals.append(token)
            self._loaded += 1

    def arrival(self, number: int) -> int:
        """ARRIVED tokens that say that block ``number`` is there; 0: nothing is loaded."""
        return self._arrivals[number] if self._plan.source is not None else 0

    def writable(self, number: int) -> int:
        """LOADED_POST tokens that say that block ``number`` may be written."""
        return self._writable_from[number % 2]

    def store(self, number: int, unit: Unit, finished: int) -> None:
        """Store what block ``number`` wrote; ``finished`` is the token of its last POST."""
        self._free_from[number % 2] = finished
        places, layout = self._plan.output, self.layer.plane_output
        if places is None:
            return
        outputs, place = self.layer.layer.outputs, number % 2
        assert layout is not None
        assert outputs is not None
        outside = self._addresses.external[outputs.tensor]
        span = external_span(layout, unit.first, unit.count, self._config)
        entries = local_layout(layout, unit.count).pixel_stride // 2
        fields = transfer_fields(outside, self.block(number).outputs, span, entries)
        wait = self._released.require(finished, self._program, self.layer.tag)
        token = self._append(fields, places[place], self._stored, wait, store=1)
        self._writable_from[place] = token

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

    def _source_pixel(self) -> int:
        """Activation words of a pixel of the input."""
        source = self.layer.source
        if isinstance(source, PlaneLayout):
            return source.pixel_stride // 2
        return item_words(self._config)

    def _append(
        self, fields: dict[str, int], address: int, signal: TokenCounter, wait: int, *, store: int
    ) -> int:
        """Add the command; returns the token that it signals."""
        target = isa.DmaTarget.ACTIVATIONS.value
        command = {"store": store, "target": target, "address": address, "wait": wait}
        instruction = self._program.append(isa.Opcode.DMA, self.layer.tag, command | fields)
        return signal.signal(instruction)
