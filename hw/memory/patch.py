"""Patch former: rows of raw pixels to bit planes of the first convolution's window."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PatchFormer", "Pixel"]

CHANNELS = 4
"""Bytes of a pixel."""
BYTE = 8
PAIRS = BYTE // 2
"""Words of a block: two planes each."""


class Pixel(data.Struct):
    """One pixel of a padded row."""

    #: Four channels as two's complement bytes, channel 0 lowest.
    data: CHANNELS * BYTE
    #: First pixel of its padded row.
    row_first: 1
    #: Last pixel of all.
    last: 1


class PatchFormer(wiring.Component):
    """Shift register of pixels; writes the planes of the newest ones after every ``stride``-th.

    After pixel i of a row with i >= ``kernel`` - 1 and (i - (kernel - 1)) % stride == 0 it gives
    ``granules`` blocks of four words; word p of a block holds planes 2p (low) and 2p + 1 of
    ``rows`` channels. Channel 4 * age + byte is the byte ``byte`` of the pixel that came ``age``
    pixels ago; ages before the start of the row, or beyond ``patch_pixels``, are zero.

    One word per cycle and, besides, one pixel per cycle: the next pixel is taken in the cycle of
    a patch's last word, so patches follow one another without gaps. Words come 3 cycles after
    their pixel.

    Parameters
    ----------
    rows
        Channels of a granule.
    patch_pixels
        Pixels that are kept.
    """

    def __init__(self, *, rows: int, patch_pixels: int) -> None:
        self._rows = rows
        self._patch_pixels = patch_pixels
        super().__init__(
            {
                # Pixels, row by row.
                "pixels": In(stream.Signature(Pixel)),
                # Pixels from the start of a row to its first patch, from patch to patch, and
                # blocks of a patch. They stand still from the first pixel to `last`.
                "kernel": In(4),
                "stride": In(4),
                "granules": In(4),
                # One cycle per word.
                "word_valid": Out(1),
                "word": Out(2 * rows),
                # One cycle: the last pixel is done. Not before the last word.
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pixels = self.pixels
        history = Signal(data.ArrayLayout(CHANNELS * BYTE, self._patch_pixels), reset_less=True)
        until = Signal(4)
        pair = Signal(range(PAIRS))
        block = Signal(4)
        block_last = Signal()
        writing = Signal()
        ending = Signal()
        word_last = Signal()
        count = Signal(4)
        fires = Signal()
        take = Signal()

        m.d.comb += [
            word_last.eq((pair == PAIRS - 1) & block_last),
            pixels.ready.eq(~writing | word_last),
            take.eq(pixels.valid & pixels.ready),
            count.eq(Mux(pixels.payload.row_first, self.kernel - 1, until)),
            fires.eq((count == 0) & (self.granules != 0)),
        ]
        with m.If(writing):
            m.d.sync += pair.eq(pair + 1)
            with m.If(pair == PAIRS - 1):
                m.d.sync += [block.eq(block + 1), block_last.eq(block + 2 == self.granules)]
        with m.If(pixels.ready):
            m.d.sync += [
                writing.eq(take & fires),
                ending.eq(take & pixels.payload.last),
                block.eq(0),
                block_last.eq(self.granules == 1),
            ]
        with m.If(take):
            m.d.sync += [
                history.eq(Cat(pixels.payload.data, history)),
                until.eq(Mux(count == 0, self.stride - 1, count - 1)),
            ]
        # A condition of its own, so that the reset input of the flip-flops can do it.
        with m.If(take & pixels.payload.row_first):
            m.d.sync += Value.cast(history)[CHANNELS * BYTE :].eq(0)
        self._select(m, history, pair, block, writing, ending & (~writing | word_last))
        return m

    def _select(
        self, m: Module, history: Signal, pair: Signal, block: Signal, valid: Value, last: Value
    ) -> None:
        """Two stages: the pair of planes of all channels, then the block."""
        channels = [
            history[age].word_select(byte, BYTE)
            for age in range(self._patch_pixels)
            for byte in range(CHANNELS)
        ]
        planes = Signal(data.ArrayLayout(len(channels), 2), reset_less=True)
        block_delayed = Signal.like(block)
        valid_delayed = Signal()
        last_delayed = Signal()
        for plane in range(2):
            m.d.sync += planes[plane].eq(
                Cat(channel.bit_select((pair << 1) | plane, 1) for channel in channels)
            )
        m.d.sync += [
            block_delayed.eq(block),
            valid_delayed.eq(valid),
            last_delayed.eq(last),
            self.word_valid.eq(valid_delayed),
            self.last.eq(last_delayed),
            self.word.eq(
                Cat(planes[plane].word_select(block_delayed, self._rows) for plane in range(2))
            ),
        ]
