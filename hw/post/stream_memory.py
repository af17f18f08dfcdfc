"""Stream memory: the fixed-point tensors that residuals and stream layers read."""

from amaranth.hdl import Cat, Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..delay import ROWS_PER_COPY, delayed, row_copies
from .position import signed_vector

__all__ = ["StreamMemory", "StreamWriteSignature"]


class StreamWriteSignature(wiring.Signature):
    """Write of one stream vector, from the writer's viewpoint; always accepts."""

    def __init__(self, *, depth: int, width: int, rows: int) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "address": Out(range(depth)),
                "data": Out(signed_vector(width, rows)),
            }
        )


class StreamMemory(wiring.Component):
    """Vectors of ``rows`` signed values; one read and one write per cycle.

    The memory of every ``ROWS_PER_COPY`` rows has registers of its own for both addresses: the
    block RAMs of all rows are spread over half of the chip.

    Reading an address in the cycle in which it is written gives an undefined vector: synthesis is
    told so (``no_rw_check``), as keeping the old one would cost a second vector of registers.

    Parameters
    ----------
    depth
        Vectors.
    width
        Bits of a value.
    rows
        Values of a vector.

    Members
    -------
    write : In(StreamWriteSignature(...))
        Write port; the vector can be read from the next cycle on.
    address : In(range(depth))
        Vector that is read.
    data : Out(signed_vector(width, rows))
        The vector at the address of ``LATENCY`` cycles ago, straight from the block RAM: meant
        for registers.
    """

    LATENCY = 2

    def __init__(self, *, depth: int, width: int, rows: int) -> None:
        self.depth = depth
        super().__init__(
            {
                "write": In(StreamWriteSignature(depth=depth, width=width, rows=rows)),
                "address": In(range(depth)),
                "data": Out(signed_vector(width, rows)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        rows = len(self.data)
        enable = row_copies(m, self.write.enable, rows, name="enable")
        write_address = row_copies(m, self.write.address, rows, name="write_address")
        read_address = row_copies(m, self.address, rows, name="read_address")
        for first in range(0, rows, ROWS_PER_COPY):
            held = range(first, min(first + ROWS_PER_COPY, rows))
            vectors = memory.Memory(
                shape=sum(len(self.data[row]) for row in held),
                depth=self.depth,
                init=[],
                attrs={"no_rw_check": 1},
            )
            m.submodules[f"rows_{first}"] = vectors
            write, read = vectors.write_port(), vectors.read_port()
            values = Cat(self.write.data[row] for row in held)
            m.d.comb += [
                write.en.eq(enable[first]),
                write.addr.eq(write_address[first]),
                write.data.eq(delayed(m, values, name=f"values_{first}", reset_less=True)),
                read.en.eq(1),
                read.addr.eq(read_address[first]),
                Cat(self.data[row] for row in held).eq(read.data),
            ]
        return m
