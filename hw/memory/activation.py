"""Activation memory: plane tensors and raw images between the layers."""

from amaranth.hdl import Module, Mux, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import GRANULES_PER_WORD, AcceleratorConfig
from hw.payloads import ActivationReadSignature, ActivationWriteSignature

__all__ = ["ActivationMemory", "activation_item"]


def activation_item(config: AcceleratorConfig) -> data.StructLayout:
    """One whole word and its address."""
    return data.StructLayout(
        {"address": exact_log2(config.memory.activation_words), "data": config.array.word_width}
    )


class ActivationMemory(wiring.Component):
    """One write and one read per cycle, each shared by two engines.

    The post engine writes and the FILL engine reads without back-pressure; the DMA engine takes
    the cycles that they leave. Data come one cycle after the read. Writes take effect one cycle
    after they are offered. The semaphores keep readers from words that are being written, so what
    a read returns that meets a write of the same word is of no concern.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._words = config.memory.activation_words
        self._word_width = config.array.word_width
        #: Contents; a testbench may look at ``data``.
        self.memory = memory.Memory(
            shape=data.ArrayLayout(config.array.rows, GRANULES_PER_WORD),
            depth=self._words,
            init=[],
        )
        address = unsigned(exact_log2(self._words))
        super().__init__(
            {
                # Codes and raw results of the post engine; has priority.
                "post_write": In(ActivationWriteSignature(config)),
                # Words that the DMA engine loads.
                "dma_write": In(stream.Signature(activation_item(config))),
                # Reads of the FILL engine; has priority.
                "fill_read": In(ActivationReadSignature(config)),
                # Addresses that the DMA engine stores from; the word comes one cycle after the
                # transfer on `dma_data`.
                "dma_read": In(stream.Signature(address)),
                "dma_data": Out(config.array.word_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        write = self.memory.write_port(granularity=1)
        read = self.memory.read_port()
        post, fill = self.post_write, self.fill_read

        m.d.comb += [
            self.dma_write.ready.eq(post.enable == 0),
            self.dma_read.ready.eq(~fill.enable),
            read.addr.eq(Mux(fill.enable, fill.address, self.dma_read.payload)),
            read.en.eq(1),
            fill.data.eq(read.data),
            self.dma_data.eq(read.data),
        ]
        m.d.sync += write.en.eq(post.enable)
        with m.If(post.enable == 0):
            m.d.sync += [
                write.en.eq(self.dma_write.valid.replicate(GRANULES_PER_WORD)),
                write.addr.eq(self.dma_write.payload.address),
                write.data.eq(self.dma_write.payload.data),
            ]
        with m.Else():
            m.d.sync += [write.addr.eq(post.address), write.data.eq(post.data)]
        return m
