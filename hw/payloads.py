"""Payloads and signatures of the links between the blocks of the accelerator, defined once."""

from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import AcceleratorConfig

__all__ = [
    "ActivationReadSignature",
    "ActivationWriteSignature",
    "ColumnWriteSignature",
    "MemoryPortSignature",
    "MemoryRequest",
    "TableWriteSignature",
    "TraceSignature",
    "accumulator_vector",
    "pass_entry",
    "stream_item",
    "threshold_group",
    "window_entry",
]


class MemoryRequest(data.Struct):
    """One burst on the external memory port."""

    address: unsigned(24)
    """First 32-bit word."""
    length: unsigned(20)
    """Words; at least 1."""
    write: unsigned(1)
    """1: `length` words follow on `write_data`; 0: `length` words come on `read_data`."""


class MemoryPortSignature(wiring.Signature):
    """External memory port, from the requester's viewpoint. Bursts finish in order."""

    def __init__(self) -> None:
        super().__init__(
            {
                "requests": Out(stream.Signature(MemoryRequest)),
                "write_data": Out(stream.Signature(unsigned(32))),
                "read_data": In(stream.Signature(unsigned(32))),
            }
        )


class TableWriteSignature(wiring.Signature):
    """Write port of an on-chip table, from the writer's viewpoint; always accepts."""

    def __init__(self, *, depth: int, width: int, rows: int = 1) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "row": Out(range(rows)),
                "address": Out(range(depth)),
                "data": Out(width),
            }
        )


class ActivationWriteSignature(wiring.Signature):
    """Write of one activation memory word, from the writer's viewpoint; always accepts."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "enable": Out(2),  # one bit per granule of the word, low granule first
                "address": Out(range(config.memory.activation_words)),
                "data": Out(config.array.word_width),
            }
        )


class ActivationReadSignature(wiring.Signature):
    """Read of one activation memory word, from the reader's viewpoint; data one cycle later."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "address": Out(range(config.memory.activation_words)),
                "data": In(config.array.word_width),
            }
        )


class ColumnWriteSignature(wiring.Signature):
    """Broadcast write of one word to all column buffers, from the writer's viewpoint."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "half": Out(1),
                "address": Out(range(config.memory.column_granules // 2)),
                "data": Out(config.array.word_width),
            }
        )


class TraceSignature(wiring.Signature):
    """What the post engine writes, for co-verification; no gateware depends on it.

    Accumulators, stored stream vectors and words of the activation memory, each with the layer
    tag of the instruction that made them.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        rows = config.array.rows
        super().__init__(
            {
                "layer": Out(8),
                "accumulator_valid": Out(1),
                "accumulator": Out(rows * config.datapath.accumulator_width),
                "stream_valid": Out(1),
                "stream_address": Out(range(config.memory.stream_places)),
                "stream": Out(rows * config.datapath.stream_width),
                "activation_enable": Out(2),
                "activation_address": Out(range(config.memory.activation_words)),
                "activation": Out(config.array.word_width),
            }
        )


def stream_item(config: AcceleratorConfig) -> data.StructLayout:
    """One stream vector and its address."""
    width = config.array.rows * config.datapath.stream_width
    return data.StructLayout({"address": range(config.memory.stream_vectors), "data": width})


def accumulator_vector(config: AcceleratorConfig) -> data.ArrayLayout:
    """One pixel of one channel tile: ``rows`` signed accumulators."""
    from amaranth.hdl import signed

    return data.ArrayLayout(signed(config.datapath.accumulator_width), config.array.rows)


def window_entry(config: AcceleratorConfig) -> data.StructLayout:
    """Window table: where the granules of a step lie, relative to a column's base.

    External form: two offsets per word (low half first), then ceil(lanes / 32) words of mask.
    """
    pairs = -(-config.array.granules // 2)
    return data.StructLayout(
        {
            "offsets": data.ArrayLayout(16, 2 * pairs),  # one for each granule, the last unused
            # A 1 for each lane that holds a real channel: the popcount of the activations counts
            # these lanes only.
            "mask": config.array.lanes,
        }
    )


def pass_entry() -> data.StructLayout:
    """Pass table: one pass over window words for one weight plane and one activation plane.

    External form: word 0 = window | length << 16, word 1 = plane | weight << 16.
    """
    return data.StructLayout(
        {
            "window": 16,  # first window table entry
            "length": 16,  # words, at least 1
            "plane": 16,  # granules added to both offsets: selects the activation plane
            "weight": 16,  # weight word of the first step, relative to the tile's base
        }
    )


def threshold_group(config: AcceleratorConfig) -> data.ArrayLayout:
    """Thresholds compared in one cycle, ascending; passing one XORs its delta into the code.

    External form: per comparator a word ``threshold`` (signed) and a word ``delta``. Unused
    comparators hold the largest threshold, which nothing passes.
    """
    from amaranth.hdl import signed

    return data.ArrayLayout(
        data.StructLayout({"threshold": signed(32), "delta": config.datapath.planes_maximum}),
        config.datapath.comparators,
    )
