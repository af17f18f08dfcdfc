"""Parameter memory and the shift chain that gathers the parameters of the next tile."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..delay import data_register, row_copies
from ..payloads import TableWriteSignature
from .counters import LoopCounter

__all__ = ["WORDS_PER_ROW", "ParameterChain", "parameter_request", "row_parameters"]

WORDS_PER_ROW = 3


def row_parameters() -> data.StructLayout:
    """Parameters of one row as they lie in memory: three 32-bit words."""
    return data.StructLayout(
        {
            "bias": signed(32),
            "offset": signed(32),
            "gain": signed(18),
            "unused": 13,
            "minimum": 1,  # maximum pooling takes the minimum
        }
    )


def parameter_request(depth: int) -> data.StructLayout:
    """Parameters of the ``tiles`` (at least 1) tiles of a command, one after the other."""
    return data.StructLayout({"address": range(depth), "tiles": 8})


class ParameterChain(wiring.Component):
    """Holds the parameters of the next tile while those of the current one are in use.

    A tile's ``3 * rows`` words move one per cycle from the memory into a shift chain, the first
    word to its far end, where they lie row by row. They are complete (``available``)
    ``fetch_cycles`` cycles after the request or after the ``release`` of the tile before, and stay
    until ``release``: the blocks of the engine copy what they need when the first vector of the
    tile reaches them. The next request is taken as soon as the last tile of a request is read,
    so the parameters of the next command are fetched during the current one. Addresses wrap.

    Parameters
    ----------
    depth
        Words of the memory.
    rows
        Rows of the array.

    Members
    -------
    write : In(TableWriteSignature(depth=depth, width=32))
        Port that loads the memory. Words of a request must be written before it, and not while
        they are fetched.
    requests : In(stream.Signature(parameter_request(depth)))
        Tiles to fetch, in the order of use.
    next : Out(ArrayLayout(row_parameters(), rows))
        Parameters of the next tile; stable from ``available`` to ``release``.
    available : Out(1)
        ``next`` is complete and not claimed.
    claim : In(1)
        The first vector of the tile is on its way: ``available`` falls.
    release : In(1)
        Nothing needs ``next`` any more.
    """

    def __init__(self, *, depth: int, rows: int) -> None:
        self.depth = depth
        self.rows = rows
        super().__init__(
            {
                "write": In(TableWriteSignature(depth=depth, width=32)),
                "requests": In(stream.Signature(parameter_request(depth))),
                "next": Out(data.ArrayLayout(row_parameters(), rows)),
                "available": Out(1),
                "claim": In(1),
                "release": In(1),
            }
        )

    @staticmethod
    def fetch_cycles(rows: int) -> int:
        """Cycles from the transfer of a request, or a release, to ``available``."""
        return WORDS_PER_ROW * rows + 3

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=32, depth=self.depth, init=[], attrs={"no_rw_check": 1}
        )
        write = store.write_port()
        read = store.read_port()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
        ]
        words, width = WORDS_PER_ROW * self.rows, 32 * WORDS_PER_ROW
        m.submodules.words = counter = LoopCounter(ceil_log2(words + 1))
        m.d.comb += counter.limit.eq(words)

        tiles = Signal(8)  # still to be fetched
        held = Signal()  # the chain belongs to a tile: it fills, is complete or in use
        reading, shifting, full, claimed = Signal(), Signal(), Signal(), Signal()
        row_shifting = row_copies(m, reading, self.rows, name="shifting")
        begin = Signal()
        chain = data_register(m, self.next, name="chain").as_value()
        m.d.comb += [
            # A request moves the read address, which the tile being read still needs.
            self.requests.ready.eq((tiles == 0) & ~reading),
            begin.eq((tiles != 0) & ~held),
            counter.restart.eq(begin),
            counter.step.eq(reading),
            read.en.eq(reading),
            self.available.eq(full & ~claimed),
        ]
        m.d.sync += shifting.eq(reading)
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [
                read.addr.eq(self.requests.payload.address),
                tiles.eq(self.requests.payload.tiles),
            ]
        with m.If(begin):
            m.d.sync += [held.eq(1), reading.eq(1), tiles.eq(tiles - 1)]
        with m.If(reading):
            m.d.sync += [read.addr.eq(read.addr + 1), reading.eq(~counter.last)]
        with m.If(shifting):
            m.d.sync += full.eq(~reading)
        following = Cat(chain[32:], read.data)
        for row, enable in enumerate(row_shifting):
            with m.If(enable):
                m.d.sync += chain.word_select(row, width).eq(following.word_select(row, width))
        with m.If(self.claim):
            m.d.sync += claimed.eq(1)
        with m.If(self.release):
            m.d.sync += [held.eq(0), full.eq(0), claimed.eq(0)]
        return m
