"""What an accelerator computed, put together from what it was seen writing.

The places come from the program (:class:`compiler.program.TensorInfo`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.program import LayerInfo, Program, TensorInfo
from hw.isa import INSTRUCTION_WORDS, Opcode, OutputKind, PoolOperation, decode

from .trace import Events, Geometry, IntegerArray, Trace

__all__ = [
    "Reconstruction",
    "block_places",
    "image_instructions",
    "reconstruct",
    "reconstruct_accumulators",
]

RAW_BITS = 32


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


def _granule_writes(events: Events) -> tuple[IntegerArray, IntegerArray, IntegerArray]:
    """Granules in the order of their writes: address [n], bits [n, rows], cycle [n].

    Bits of unknown words are 2.
    """
    data = np.where(events.known[:, None, None], events.data, 2)
    written = (events.enable[:, None] >> np.arange(2) & 1) == 1
    address = 2 * events.address[:, None] + np.arange(2)
    cycle = np.repeat(events.cycle[:, None], 2, axis=1)
    return address[written], data[written], cycle[written]


def _granules(
    tensor: TensorInfo, events: Events, geometry: Geometry
) -> tuple[IntegerArray, IntegerArray]:
    """Contents of the activation memory: bits [granules, rows], cycle of write [granules].

    Of a tensor that was written in blocks, as if it lay in the memory as a whole, in the layout
    that the tensor tells, from granule ``base`` on.
    """
    address, data, cycle = _granule_writes(events)
    size = 2 * geometry.activation_words
    if tensor.blocks:
        size = max(size, tensor.base + tensor.height * tensor.row_stride)
        place, order = block_places(tensor, address)
        address, data, cycle = place, data[order], cycle[order]
    bits = np.zeros((size, geometry.rows), np.int64)
    cycles = np.full(size, -1, np.int64)
    bits[address] = data
    cycles[address] = cycle
    return bits, cycles


def block_places(tensor: TensorInfo, address: IntegerArray) -> tuple[IntegerArray, IntegerArray]:
    """Granules (stream: vectors) of a tensor that was written in blocks, and which writes filled
    them.

    Blocks use the same places in turn: the n-th block that holds a granule of the memory got the
    n-th write to it.

    Args:
        tensor: With blocks.
        address: Granules of the memory in the order in which they were written.

    Returns:
        Granules as if the tensor lay in the memory as a whole, and an index into ``address`` for
        each; those that were never written are missing.
    """
    planes = np.arange(1 if tensor.kind == "stream" else tensor.planes)
    if not len(address):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    by_address = np.argsort(address, kind="stable")
    used, starts, counts = np.unique(address[by_address], return_index=True, return_counts=True)
    seen = np.zeros(len(used), np.int64)
    places, writes = [], []
    for block in tensor.blocks:
        pixel_y, pixel_x, unit = np.ogrid[: block.height, : block.width, : block.count]
        granule = unit[..., None] * tensor.slots + planes
        near = (pixel_y * block.row_stride + pixel_x * block.pixel_stride)[..., None] + granule
        far_y, far_x = block.y + pixel_y, block.x + pixel_x
        far = (far_y * tensor.row_stride + far_x * tensor.pixel_stride)[..., None] + granule
        near, far = (near + block.base).ravel(), (far + block.first * tensor.slots).ravel()
        index = np.minimum(np.searchsorted(used, near), len(used) - 1)
        written = (used[index] == near) & (seen[index] < counts[index])
        index = index[written]
        places.append(far[written] + tensor.base)
        writes.append(by_address[starts[index] + seen[index]])
        seen[index] += 1
    return np.concatenate(places), np.concatenate(writes)


def _arrange(
    tensor: TensorInfo, values: IntegerArray, known: IntegerArray, cycles: IntegerArray
) -> Reconstruction:
    """Arrays [height, width, positions] in the channel order of the model."""
    positions = _channel_positions(tensor)
    values, known, cycles = (array[:, :, positions] for array in (values, known, cycles))
    return Reconstruction(values=values, known=known.astype(bool) & (cycles >= 0), cycles=cycles)


def _from_granules(tensor: TensorInfo, events: Events, geometry: Geometry) -> Reconstruction:
    bits, written = _granules(tensor, events, geometry)
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
    place, order, size = events.address, slice(None), geometry.stream_vectors
    if tensor.blocks:
        place, order = block_places(tensor, events.address)
        size = max(size, tensor.base + tensor.height * tensor.row_stride)
    values = np.zeros((size, geometry.rows), np.int64)
    known = np.zeros(size, bool)
    cycles = np.full(size, -1, np.int64)
    values[place] = events.data[order]
    known[place] = events.known[order]
    cycles[place] = events.cycle[order]
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


def image_instructions(program: Program) -> Iterator[tuple[Opcode, dict[str, int]]]:
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
    program: Program,
    layer: LayerInfo,
    config: Mapping[str, int],
    post: Mapping[str, int],
    number: int,
) -> tuple[TensorInfo, int, int, int]:
    """The tensor that a POST writes, and the row, column and block at which it begins.

    ``number`` counts the layer's POSTs.
    """
    written = [tensor for tensor in program.tensors if tensor.name in layer.tensors]
    to_stream = config["output"] == OutputKind.NONE.value
    tensor = next(tensor for tensor in written if (tensor.kind == "stream") == to_stream)
    if tensor.blocks:
        return tensor, *_block_origin(tensor, post, number)
    offset = post["stream_base" if to_stream else "code_base"] - tensor.base
    y, offset = divmod(offset, tensor.row_stride) if tensor.height > 1 else (0, offset)
    x, offset = divmod(offset, tensor.pixel_stride) if tensor.width > 1 else (0, offset)
    return tensor, y, x, offset // (1 if to_stream else tensor.slots)


def _block_origin(tensor: TensorInfo, post: Mapping[str, int], number: int) -> tuple[int, int, int]:
    """Row, column and block of a tensor at which the POST of that number begins."""
    ends = np.cumsum([block.posts for block in tensor.blocks])
    block = tensor.blocks[int(np.searchsorted(ends, number, side="right"))]
    base = post["stream_base" if tensor.kind == "stream" else "code_base"]
    y, offset = divmod(base - block.base, block.row_stride)
    x, offset = divmod(offset, block.pixel_stride)
    slots = 1 if tensor.kind == "stream" else tensor.slots
    return block.y + y, block.x + x, block.first + offset // slots


def _vector_places(
    program: Program, layer: LayerInfo
) -> Iterator[tuple[TensorInfo, IntegerArray, IntegerArray, IntegerArray]]:
    """For each POST of the layer in order: row, column and block of its array vectors in order."""
    config: dict[str, int] = {}
    number = -1
    for opcode, fields in image_instructions(program):
        if fields["layer"] != layer.tag or opcode not in (Opcode.POST_CONFIG, Opcode.POST):
            continue
        if opcode is Opcode.POST_CONFIG:
            config = fields
            continue
        number += 1
        if not config["array"]:
            continue
        tensor, y, x, block = _origin(program, layer, config, fields, number)
        pooled = config["pool"] != PoolOperation.NONE.value
        inner_x, inner_y = config["inner_x"], config["inner_y"]
        count = fields["vectors"]
        if not pooled:  # the inner counts belong to the residual sum: one array vector each
            count //= inner_x * inner_y
            inner_x = inner_y = 1
        index = np.arange(count)
        window, pixel = index % (inner_x * inner_y), index // (inner_x * inner_y)
        # Windows are clipped to the image; those of a batch lie one below the other.
        (step_y, step_x), (above, left) = layer.pool_stride, layer.pool_padding
        image, row = np.divmod(
            y + pixel // config["outer_x"], layer.output_shape[0] // layer.images
        )
        rows = np.maximum(row * step_y - above, 0) + window // inner_x
        rows += image * (layer.convolution_shape[0] // layer.images)
        columns = np.maximum((x + pixel % config["outer_x"]) * step_x - left, 0) + window % inner_x
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
