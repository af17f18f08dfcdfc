"""The FILL engine: rectangles of the activation memory to the column buffers."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import GRANULES_PER_WORD, AcceleratorConfig
from hw.isa import Opcode, instruction_layout
from hw.memory.patch import PatchFormer, Pixel
from hw.memory.walker import RectangleWalker
from hw.payloads import ActivationReadSignature, ColumnWriteSignature
from hw.stream import StreamQueue, connect_checked

__all__ = ["FillEngine"]

PIXEL_BITS = 32
PIXEL_QUEUE = 8
"""Pixels under way between the walk and the patch former: covers the latency of their read."""
PIXEL_OFFSET = 0x80808080
"""Turns bytes into two's complement of value - 128."""


class FillEngine(wiring.Component):
    """Executes FILL commands one at a time.

    ::

        walker ─> read request ─> activation memory ─> word ─┬────────────────────────┬─> columns
                                                             └─> pixels ─> patches ───┘

    Plain mode: one word per cycle in the steady state, across rows as well. Image mode: the
    larger of the words of a patch and the words of a pixel, per pixel. A command takes
    ``overhead`` cycles besides its words (image mode: 5 more).

    ``done`` comes ``column_delay`` cycles after the last write has left on ``columns``.

    Parameters
    ----------
    config
        Sizes.
    column_delay
        Cycles until a write has reached all columns.
    """

    #: Cycles of a plain command besides its words, from acceptance to the last write.
    overhead = 11

    def __init__(self, config: AcceleratorConfig, *, column_delay: int | None = None) -> None:
        columns = config.array.columns
        self._config = config
        self._word_width = config.array.word_width
        self._column_delay = columns + 2 if column_delay is None else column_delay
        self._column_words = config.memory.column_granules // GRANULES_PER_WORD
        self._pixel_words = max(1, PIXEL_BITS // self._word_width)
        super().__init__(
            {
                # One at a time.
                "command": In(stream.Signature(instruction_layout(Opcode.FILL))),
                # One cycle: the last word of the command is in all columns.
                "done": Out(1),
                # A command is executed.
                "busy": Out(1),
                # One cycle: a word beyond the activation memory was read or one beyond the half
                # of the column buffers was to be written; the latter is dropped.
                "bad_address": Out(1),
                # Source; answers one cycle later.
                "read": Out(ActivationReadSignature(config)),
                # Destination.
                "columns": Out(ColumnWriteSignature(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = Signal(instruction_layout(Opcode.FILL))
        m.submodules.walker = walker = RectangleWalker()
        m.submodules.patches = patches = PatchFormer(
            rows=self._config.array.rows, patch_pixels=self._config.datapath.patch_pixels
        )
        start = Signal()
        finished = Signal()
        self._sequence(m, command, start, finished)
        self._shape_walk(m, walker, command, start)

        word, outside = self._read(m, walker, command.image, patches)
        m.d.comb += [
            patches.kernel.eq(command.kernel),
            patches.stride.eq(command.stride),
            patches.granules.eq(command.granules),
        ]
        plain = Mux(word.payload.interior, word.payload.data, 0)
        self._write(
            m,
            command.half,
            start=start,
            valid=Mux(command.image, patches.word_valid, word.valid),
            word=Mux(command.image, patches.word, plain),
            outside=outside,
        )
        ends = Mux(command.image, patches.last, word.valid & word.payload.last)
        m.d.sync += finished.eq(ends | walker.empty)
        return m

    def _sequence(self, m: Module, command: Signal, start: Signal, finished: Signal) -> None:
        """Accept, run, and wait until the columns have the last word."""
        delay = Signal(range(self._column_delay + 1))
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.command.ready.eq(1), self.busy.eq(0)]
                m.d.sync += [
                    command.eq(self.command.payload),
                    start.eq(self.command.valid),
                    delay.eq(max(0, self._column_delay - 1)),
                ]
                with m.If(self.command.valid):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += start.eq(0)
                with m.If(finished):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += delay.eq(delay - 1)
                with m.If(delay == 0):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _shape_walk(
        self, m: Module, walker: RectangleWalker, command: Signal, start: Signal
    ) -> None:
        shape = walker.shape
        m.d.comb += [
            walker.start.eq(start),
            shape.source.eq(command.source),
            shape.stride.eq(command.source_stride),
            shape.item.eq(Mux(command.image, self._pixel_words, 1)),
        ]
        for name in ("top", "rows", "bottom", "left", "words", "right"):
            m.d.comb += shape[name].eq(command[name])

    def _read(
        self, m: Module, walker: RectangleWalker, image: Value, patches: PatchFormer
    ) -> tuple[stream.Interface, Value]:
        """Steps to words: request register, block RAM, data register.

        Returns the words, and whether a word beyond the memory is being read.
        """
        m.submodules.pixels = queue = StreamQueue(Pixel, depth=PIXEL_QUEUE)
        connect_checked(m, queue.o, patches.pixels)
        credit = Signal(range(PIXEL_QUEUE + 1), init=PIXEL_QUEUE)
        part = Signal(range(self._pixel_words))
        part_last = Signal()
        steps = walker.steps
        taken = steps.valid & steps.ready
        request = Signal(requested_word(self._word_width))
        fetched = Signal(requested_word(self._word_width))
        word = stream.Signature(requested_word(self._word_width)).create(path=("word",))

        m.d.comb += [
            part_last.eq(~image | ~steps.payload.interior | (part == self._pixel_words - 1)),
            steps.ready.eq(part_last & (~image | (credit != 0))),
        ]
        m.d.sync += credit.eq(
            credit - (taken & image) + (patches.pixels.valid & patches.pixels.ready)
        )
        issue = steps.valid & (~image | (credit != 0))
        address = Signal(17)
        with m.If(issue):
            m.d.sync += address.eq(Mux(part == 0, steps.payload.address, address + 1))
            with m.If(image):
                m.d.sync += part.eq(Mux(part_last, 0, part + 1))

        valid = Signal(2)
        m.d.sync += [
            valid.eq((valid << 1) | issue),
            request.interior.eq(steps.payload.interior),
            request.row_first.eq(steps.payload.row_first),
            request.last.eq(steps.payload.last & part_last),
            request.part_last.eq(part_last),
            fetched.eq(request),
            word.payload.eq(fetched),
            word.payload.data.eq(self.read.data),
            word.valid.eq(valid[1]),
        ]
        m.d.comb += [
            self.read.enable.eq(valid[0] & request.interior),
            self.read.address.eq(address),
        ]
        self._collect_pixel(m, word, image, queue)
        return word, self.read.enable & (address >= self._config.memory.activation_words)

    def _collect_pixel(
        self, m: Module, word: stream.Interface, image: Value, queue: StreamQueue
    ) -> None:
        """Words to pixels; the queue has room for all pixels with credit."""
        pixel = Signal(PIXEL_BITS)
        if self._word_width < PIXEL_BITS:
            parts = Signal(PIXEL_BITS - self._word_width)
            m.d.comb += pixel.eq(Cat(parts, word.payload.data))
            with m.If(word.valid):
                m.d.sync += parts.eq(pixel >> self._word_width)
        else:
            m.d.comb += pixel.eq(word.payload.data)
        m.d.comb += [
            queue.i.valid.eq(word.valid & word.payload.part_last & image),
            queue.i.payload.data.eq(Mux(word.payload.interior, pixel ^ PIXEL_OFFSET, 0)),
            queue.i.payload.row_first.eq(word.payload.row_first),
            queue.i.payload.last.eq(word.payload.last),
        ]

    def _write(
        self,
        m: Module,
        half: Value,
        *,
        start: Value,
        valid: Value,
        word: Value,
        outside: Value,
    ) -> None:
        """Contiguous destination; the bit above the address tells that the half is full."""
        address = Signal(range(2 * self._column_words))
        is_full = address[-1]
        with m.If(start):
            m.d.sync += address.eq(0)
        with m.Elif(valid & ~is_full):
            m.d.sync += address.eq(address + 1)
        m.d.sync += [
            self.columns.enable.eq(valid & ~is_full),
            self.columns.half.eq(half),
            self.columns.address.eq(address),
            self.columns.data.eq(word),
            self.bad_address.eq((valid & is_full) | outside),
        ]


def requested_word(width: int) -> data.StructLayout:
    """A word on its way through the read pipeline."""
    return data.StructLayout(
        {"interior": 1, "row_first": 1, "last": 1, "part_last": 1, "data": width}
    )
