"""Stream memory: the fixed-point tensors that residuals and stream layers read."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

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
        The vector at the address of one cycle ago, straight from the block RAM: meant for
        registers.
    """

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
        m.submodules.memory = store = memory.Memory(
            shape=len(self.data.as_value()), depth=self.depth, init=[], attrs={"no_rw_check": 1}
        )
        write = store.write_port()
        read = store.read_port()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
            read.en.eq(1),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        return m
