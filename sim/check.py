"""Comparison of a trace with the integer reference: pure numpy, no simulator.

Every tensor of every layer is put together from what the accelerator was seen writing, by the
places that the program gives (:class:`compiler.program.TensorInfo`), and compared bit for bit with
the reference. An element that was never written, or that holds an unknown bit, is a mismatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.program import LayerInfo, Program, TensorInfo
from hw.isa import INSTRUCTION_WORDS, Opcode, OutputKind, PoolOperation, decode

from .trace import Events, Geometry, IntegerArray, Trace

__all__ = [
    "ACCUMULATORS",
    "LayerCheck",
    "Mismatch",
    "Reconstruction",
    "check_layer",
    "check_logits",
    "reconstruct",
    "reconstruct_accumulators",
]

RAW_BITS = 32
LOGITS = "logits"
"""Name of the logits that the host reads back, in the place of a layer and tensor name."""
ACCUMULATORS = "accumulators"
"""Name of the accumulators in the place of a tensor name."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One element that differs."""

    layer: str
    tensor: str
    channel: int
    y: int
    x: int
    expected: int
    got: int | None
    """None: never written, or unknown bits."""
    cycle: int | None
    """Cycle of the write since the start of the run; None: never written."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        got = "no known value" if self.got is None else str(self.got)
        when = "never written" if self.cycle is None else f"written in cycle {self.cycle}"
        return (
            f"layer {self.layer}, tensor {self.tensor}, channel {self.channel}, "
            f"pixel (y {self.y}, x {self.x}): expected {self.expected}, got {got} ({when})"
        )


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """A tensor as it was written; all arrays are [height, width, channels]."""

    values: IntegerArray
    known: NDArray[np.bool_]
    """All bits of the element were written and known."""
    cycles: IntegerArray
    """Cycle of the last write to the element; -1: never written."""
    needed: NDArray[np.bool_] | None = None
    """Elements that must be written; None: all. Pooling may leave out the last rows."""


@dataclass(frozen=True, kw_only=True)
class LayerCheck:
    """Outcome of the comparison of one layer, or of the logits that the host reads back."""

    name: str
    values_compared: int
    values_mismatched: int
    first: Mismatch | None


def _channel_positions(tensor: TensorInfo) -> IntegerArray:
    """Position of each channel of the tensor in its blocks: int64 [channels]."""
    positions = np.full(tensor.channels, -1, np.int64)
    for position, channel in enumerate(tensor.order):
        if channel >= 0:
            positions[channel] = position
    return positions


def _addresses(tensor: TensorInfo, rows: int) -> IntegerArray:
    """Address of the first unit of each block: int64 [height, width, blocks]."""
    y = np.arange(tensor.height)[:, None, None] * tensor.row_stride
    x = np.arange(tensor.width)[None, :, None] * tensor.pixel_stride
    step = 1 if tensor.kind == "stream" else tensor.slots
    blocks = np.arange(len(tensor.order) // rows)[None, None, :] * step
    return tensor.base + y + x + blocks


def _granules(events: Events, geometry: Geometry) -> tuple[IntegerArray, IntegerArray]:
    """Final contents of the activation memory: bits [granules, rows], cycle of write [granules].

    Bits of unknown words are 2.
    """
    bits = np.zeros((2 * geometry.activation_words, geometry.rows), np.int64)
    cycles = np.full(2 * geometry.activation_words, -1, np.int64)
    data = np.where(events.known[:, None, None], events.data, 2)
    for half in (0, 1):
        chosen = (events.enable >> half & 1) == 1
        address = 2 * events.address[chosen] + half
        bits[address] = data[chosen, half]
        cycles[address] = events.cycle[chosen]
    return bits, cycles


def _arrange(
    tensor: TensorInfo, values: IntegerArray, known: IntegerArray, cycles: IntegerArray
) -> Reconstruction:
    """Arrays [height, width, positions] in the channel order of the model."""
    positions = _channel_positions(tensor)
    values, known, cycles = (array[:, :, positions] for array in (values, known, cycles))
    return Reconstruction(values=values, known=known.astype(bool) & (cycles >= 0), cycles=cycles)


def _from_granules(tensor: TensorInfo, events: Events, geometry: Geometry) -> Reconstruction:
    bits, written = _granules(events, geometry)
    base = _addresses(tensor, geometry.rows)
    height, width, blocks = base.shape
    if tensor.kind == "raw":
        item = 2 * max(1, RAW_BITS // geometry.word_width)
        places = base[..., None, None] + (
            np.arange(geometry.rows)[:, None] * item + np.arange(item)[None, :]
        )  # [height, width, blocks, rows, granules of an item]
        spread = bits[places].reshape(height, width, blocks, geometry.rows, -1)[..., :RAW_BITS]
        cycles = written[places][..., : -(-RAW_BITS // geometry.rows)].min(axis=-1)
        weights = np.int64(1) << np.arange(RAW_BITS)
        weights[-1] = -weights[-1]
    else:
        places = base[..., None] + np.arange(tensor.planes)  # [height, width, blocks, planes]
        spread = np.moveaxis(bits[places], 3, 4)  # [height, width, blocks, rows, planes]
        cycles = np.repeat(written[places].min(axis=-1)[..., None], geometry.rows, axis=-1)
        weights = np.int64(1) << np.arange(tensor.planes)
    shape = (height, width, blocks * geometry.rows)
    return _arrange(
        tensor,
        (spread * weights).sum(axis=-1).reshape(shape),
        (spread < 2).all(axis=-1).reshape(shape),
        cycles.reshape(shape),
    )


def _from_stream(tensor: TensorInfo, events: Events, geometry: Geometry) -> Reconstruction:
    values = np.zeros((geometry.stream_vectors, geometry.rows), np.int64)
    known = np.zeros(geometry.stream_vectors, bool)
    cycles = np.full(geometry.stream_vectors, -1, np.int64)
    values[events.address] = events.data
    known[events.address] = events.known
    cycles[events.address] = events.cycle
    places = _addresses(tensor, geometry.rows)
    shape = (tensor.height, tensor.width, len(tensor.order))
    lanes = [np.repeat(array[places][..., None], geometry.rows, -1) for array in (known, cycles)]
    return _arrange(
        tensor, values[places].reshape(shape), lanes[0].reshape(shape), lanes[1].reshape(shape)
    )


def reconstruct(tensor: TensorInfo, trace: Trace, geometry: Geometry) -> Reconstruction:
    """The tensor as its layer wrote it. Plane tensors come as codes: bit j is plane j."""
    if tensor.kind == "stream":
        return _from_stream(tensor, trace.stream.of_layer(tensor.layer), geometry)
    return _from_granules(tensor, trace.activations.of_layer(tensor.layer), geometry)


def _instructions(program: Program) -> Iterator[tuple[Opcode, dict[str, int]]]:
    """The instructions of one image in program order, END left out."""
    address = program.image_entry
    while True:
        words = program.memory[address : address + INSTRUCTION_WORDS]
        opcode, fields = decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
        if opcode is Opcode.END:
            return
        yield opcode, fields
        address += INSTRUCTION_WORDS


def _origin(
    program: Program, layer: LayerInfo, config: Mapping[str, int], post: Mapping[str, int]
) -> tuple[TensorInfo, int, int, int]:
    """The tensor that a POST writes, and the row, column and block at which it begins."""
    written = [tensor for tensor in program.tensors if tensor.name in layer.tensors]
    to_stream = config["output"] == OutputKind.NONE.value
    tensor = next(tensor for tensor in written if (tensor.kind == "stream") == to_stream)
    offset = post["stream_base" if to_stream else "code_base"] - tensor.base
    y, offset = divmod(offset, tensor.row_stride) if tensor.height > 1 else (0, offset)
    x, offset = divmod(offset, tensor.pixel_stride) if tensor.width > 1 else (0, offset)
    return tensor, y, x, offset // (1 if to_stream else tensor.slots)


def _vector_places(
    program: Program, layer: LayerInfo
) -> Iterator[tuple[TensorInfo, IntegerArray, IntegerArray, IntegerArray]]:
    """For each POST of the layer in order: row, column and block of its array vectors in order."""
    config: dict[str, int] = {}
    for opcode, fields in _instructions(program):
        if fields["layer"] != layer.tag or opcode not in (Opcode.POST_CONFIG, Opcode.POST):
            continue
        if opcode is Opcode.POST_CONFIG:
            config = fields
            continue
        if not config["array"]:
            continue
        tensor, y, x, block = _origin(program, layer, config, fields)
        pooled = config["pool"] != PoolOperation.NONE.value
        inner_x, inner_y = config["inner_x"], config["inner_y"]
        count = fields["vectors"]
        if not pooled:  # the inner counts belong to the residual sum: one array vector each
            count //= inner_x * inner_y
            inner_x = inner_y = 1
        index = np.arange(count)
        window, pixel = index % (inner_x * inner_y), index // (inner_x * inner_y)
        rows = (y + pixel // config["outer_x"]) * inner_y + window // inner_x
        columns = (x + pixel % config["outer_x"]) * inner_x + window % inner_x
        blocks = block + np.repeat(np.arange(fields["tiles"]), count)
        yield tensor, np.tile(rows, fields["tiles"]), np.tile(columns, fields["tiles"]), blocks


def reconstruct_accumulators(
    program: Program, layer: LayerInfo, trace: Trace, geometry: Geometry
) -> Reconstruction:
    """The accumulators of a convolution, in the order in which its POST instructions take them.

    Those that no POST takes, because they lie beyond the last pool window, are not needed.
    """
    events = trace.accumulators.of_layer(layer.tag)
    values = np.zeros(layer.convolution_shape, np.int64)
    known = np.zeros(values.shape, bool)
    needed = np.zeros(values.shape, bool)
    cycles = np.full(values.shape, -1, np.int64)
    taken = 0
    for tensor, y, x, block in _vector_places(program, layer):
        needed[y, x] = True
        count = min(len(y), len(events.cycle) - taken)
        some = slice(taken, taken + count)
        taken += count
        order = np.array(tensor.order, np.int64).reshape(-1, geometry.rows)
        for lane in range(geometry.rows):
            channel = order[block[:count], lane]
            real = channel >= 0
            place = (y[:count][real], x[:count][real], channel[real])
            values[place] = events.data[some, lane][real]
            known[place] = events.known[some][real]
            cycles[place] = events.cycle[some][real]
    return Reconstruction(values=values, known=known, cycles=cycles, needed=needed)


def _compare(
    layer: str, tensor: str, got: Reconstruction, expected: IntegerArray, start: int
) -> tuple[int, Mismatch | None]:
    """Number of mismatches, and the one that was written first."""
    wrong = ~got.known | (got.values != expected)
    if got.needed is not None:
        wrong &= got.needed
    count = int(wrong.sum())
    if not count:
        return 0, None
    places = np.argwhere(wrong)
    when = got.cycles[wrong]
    first = int(np.argmin(np.where(when < 0, np.iinfo(np.int64).max, when)))
    y, x, channel = (int(index) for index in places[first])
    place = (y, x, channel)
    return count, Mismatch(
        layer=layer,
        tensor=tensor,
        channel=channel,
        y=y,
        x=x,
        expected=int(expected[place]),
        got=int(got.values[place]) if got.known[place] else None,
        cycle=int(got.cycles[place]) - start if got.cycles[place] >= 0 else None,
    )


def _expected(tensor: TensorInfo, array: IntegerArray) -> IntegerArray:
    shape = (tensor.height, tensor.width, tensor.channels)
    expected = np.asarray(array, np.int64).reshape(shape)
    return expected & ((1 << tensor.planes) - 1) if tensor.kind == "planes" else expected


def check_layer(
    program: Program,
    layer: LayerInfo,
    trace: Trace,
    geometry: Geometry,
    expected: Mapping[str, IntegerArray],
    accumulators: IntegerArray | None = None,
) -> LayerCheck:
    """Compare all that a layer wrote in the last run of a trace.

    ``expected`` holds the reference by tensor name, [height, width, channels]; ``accumulators``
    likewise for the convolution (bias included), None if they are not compared.
    """
    pairs: list[tuple[str, Reconstruction, IntegerArray]] = []
    if accumulators is not None:
        got = reconstruct_accumulators(program, layer, trace, geometry)
        pairs.append((ACCUMULATORS, got, np.asarray(accumulators).reshape(got.values.shape)))
    for tensor in program.tensors:
        if tensor.name in layer.tensors:
            got = reconstruct(tensor, trace, geometry)
            pairs.append((tensor.name, got, _expected(tensor, expected[tensor.name])))
    compared = mismatched = 0
    first: Mismatch | None = None
    for name, got, wanted in pairs:
        count, mismatch = _compare(layer.name, name, got, wanted, trace.start)
        compared += wanted.size if got.needed is None else int(got.needed.sum())
        mismatched += count
        first = first or mismatch
    return LayerCheck(
        name=layer.name, values_compared=compared, values_mismatched=mismatched, first=first
    )


def check_logits(
    program: Program, logits: list[int], expected: Mapping[str, IntegerArray]
) -> LayerCheck:
    """Compare the words that the host read from the external memory; none after a failed run."""
    name = next(tensor.name for tensor in program.tensors if tensor.kind == "raw")
    wanted = np.asarray(expected[name], np.int64).ravel()
    wrong = [c for c, value in enumerate(wanted) if c >= len(logits) or logits[c] != value]
    first = None
    if wrong:
        first = Mismatch(
            layer=LOGITS,
            tensor=name,
            channel=wrong[0],
            y=0,
            x=0,
            expected=int(wanted[wrong[0]]),
            got=logits[wrong[0]] if wrong[0] < len(logits) else None,
            cycle=None,
        )
    return LayerCheck(
        name=LOGITS, values_compared=wanted.size, values_mismatched=len(wrong), first=first
    )
