"""Between the stream memory and the DMA engine: streams that do not fit the chip."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import AcceleratorConfig
from ..payloads import stream_item
from .stream_memory import StreamWriteSignature

__all__ = ["StreamSpill"]


class StreamSpill(wiring.Component):
    """Writes of the post engine go to the stream memory, or past its end into a memory of vectors
    that the DMA engine stores; vectors that it loads go to the stream memory in between.

    The post engine is never held up: a loaded vector waits for a cycle without its writes.

    Parameters
    ----------
    config
        Sizes; with ``spill_vectors``.

    Members
    -------
    store : In(StreamWriteSignature(...))
        Writes of the post engine; the upper half of the addresses are spilled vectors.
    load : In(stream.Signature(stream_item(config)))
        Vectors from the external memory.
    memory : Out(StreamWriteSignature(...))
        To the stream memory.
    address : In(range(spill_vectors))
        Spilled vector that is read; it can be read two cycles after its write.
    data : Out(rows * stream_width)
        The vector at the address of one cycle ago.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        sizes, path, rows = config.memory, config.datapath, config.array.rows
        self._depth = sizes.spill_vectors
        self._width = rows * path.stream_width
        vectors = {"width": path.stream_width, "rows": rows}
        super().__init__(
            {
                "store": In(StreamWriteSignature(depth=sizes.stream_places, **vectors)),
                "load": In(stream.Signature(stream_item(config))),
                "memory": Out(StreamWriteSignature(depth=sizes.stream_vectors, **vectors)),
                "address": In(range(self._depth)),
                "data": Out(self._width),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        # Semaphores keep reads from vectors that are being written.
        m.submodules.spilled = spilled = memory.Memory(
            shape=self._width, depth=self._depth, init=[], attrs={"no_rw_check": 1}
        )
        write, read = spilled.write_port(), spilled.read_port()
        is_spilled = self.store.address[-1]
        stored, loaded = Cat(*self.store.data), self.load.payload
        m.d.comb += [
            self.load.ready.eq(~self.store.enable),
            self.memory.enable.eq(Mux(self.store.enable, ~is_spilled, self.load.valid)),
            self.memory.address.eq(Mux(self.store.enable, self.store.address[:-1], loaded.address)),
            Cat(*self.memory.data).eq(Mux(self.store.enable, stored, loaded.data)),
            read.en.eq(1),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        # From registers: the vectors come from all over the chip.
        m.d.sync += [
            write.en.eq(self.store.enable & is_spilled),
            write.addr.eq(self.store.address[: exact_log2(self._depth)]),
            write.data.eq(stored),
        ]
        return m
