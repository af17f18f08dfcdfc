"""Place of a vector in the loops of its command: it travels with the vector."""

from amaranth.hdl import Cat, Value, signed
from amaranth.lib import data, stream

__all__ = ["Position", "positioned_stream", "signed_vector"]


class Position(data.Struct):
    """Flags of one vector.

    ``last`` implies ``tile_last``, that implies ``row_last``, and that ``window_last``.
    """

    tile_first: 1
    """First vector of a channel tile: the next tile's parameters apply from here on."""
    window_first: 1
    """First vector of an inner (pool or sum) window."""
    window_last: 1
    """Last vector of an inner window."""
    row_last: 1
    """Last vector of an outer row."""
    tile_last: 1
    """Last vector of a channel tile."""
    last: 1
    """Last vector of the command."""

    def outer_steps(self) -> Value:
        """One bit per outer loop (third count, fourth count, tile), set in the loop that steps."""
        return Cat(
            self.window_last & ~self.row_last, self.row_last & ~self.tile_last, self.tile_last
        )


def signed_vector(width: int, rows: int) -> data.ArrayLayout:
    """One signed value of ``width`` bits per row."""
    return data.ArrayLayout(signed(width), rows)


def positioned_stream(width: int, rows: int) -> stream.Signature:
    """Link inside the post engine: a vector and its position.

    Nothing in the engine ever stalls (``hw/post/sequencer.py`` paces the vectors), so the stream
    is always ready and its vectors are never more than ``valid`` for one cycle each.
    """
    return stream.Signature(
        data.StructLayout({"position": Position, "values": signed_vector(width, rows)}),
        always_ready=True,
    )
