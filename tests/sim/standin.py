"""A program for the stand-in accelerator (``replay``), with the tensors that it shall trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.program import LayerInfo, Program, Stage, TensorInfo
from hw.config import AcceleratorConfig, DatapathConfig
from hw.isa import (
    INSTRUCTION_FIELDS,
    Engine,
    Opcode,
    OutputKind,
    PoolOperation,
    ResidualMode,
    encode,
)
from sim.job import ACCUMULATOR_SUFFIX
from tests.sim.replay import ACCUMULATOR, ACTIVATION, END, RECORDS_OFFSET, RETIRED, STREAM, record

ENTRY = 64
STAGE_ENTRY = 0
IMAGE = 3000
RESULT = 3100
HEIGHT, WIDTH, CHANNELS, PLANES = 3, 4, 6, 3
CLASSES = 3
STREAM_WIDTH = DatapathConfig().stream_width


@dataclass(frozen=True)
class StandIn:
    """A program and the expected arrays of every image."""

    program: Program
    expected: dict[str, np.ndarray]


def _tensors(rows: int) -> tuple[TensorInfo, ...]:
    blocks = -(-CHANNELS // rows)
    pixel = blocks * 4
    order = [*range(CHANNELS), *[-1] * (blocks * rows - CHANNELS)]
    order[0], order[-1] = order[-1], order[0]
    codes = TensorInfo(
        name="codes",
        kind="planes",
        layer=1,
        height=HEIGHT,
        width=WIDTH,
        channels=CHANNELS,
        planes=PLANES,
        slots=4,
        base=8,
        pixel_stride=pixel,
        row_stride=WIDTH * pixel + 2,
        order=tuple(order),
    )
    residual = TensorInfo(
        name="residual",
        kind="stream",
        layer=1,
        height=HEIGHT,
        width=WIDTH,
        channels=CHANNELS,
        planes=STREAM_WIDTH,
        slots=1,
        base=5,
        pixel_stride=blocks,
        row_stride=WIDTH * blocks,
        order=tuple(order),
    )
    item = 2 * max(1, 32 // (2 * rows))
    scores = TensorInfo(
        name="scores",
        kind="raw",
        layer=2,
        height=1,
        width=1,
        channels=CLASSES,
        planes=32,
        slots=rows * item,
        base=1024,
        pixel_stride=rows * item,
        row_stride=rows * item,
        order=(*range(CLASSES), *[-1] * (rows - CLASSES)),
    )
    return codes, residual, scores


def _post_fields(opcode: Opcode, values: dict[str, int]) -> int:
    return encode(opcode, {field.name: 0 for field in INSTRUCTION_FIELDS[opcode]} | values)


def _instructions(tensors: tuple[TensorInfo, ...], rows: int) -> list[int]:
    """POST instructions that say in which order the accumulators come; padded to whole words."""
    codes, _, scores = tensors
    blocks = len(codes.order) // rows
    config = {
        "array": 1,
        "residual": ResidualMode.NONE.value,
        "pool": PoolOperation.NONE.value,
        "inner_x": 1,
        "inner_y": 1,
    }
    first = config | {"output": OutputKind.CODES.value, "outer_x": WIDTH, "layer": 1}
    second = config | {"output": OutputKind.RAW.value, "outer_x": 1, "layer": 2}
    top = {"layer": 1, "tiles": blocks, "vectors": 2 * WIDTH, "code_base": codes.base}
    bottom = top | {"vectors": WIDTH, "code_base": codes.base + 2 * codes.row_stride}
    words = [
        _post_fields(Opcode.POST_CONFIG, first),
        _post_fields(Opcode.POST, top),
        _post_fields(Opcode.POST, bottom),
        _post_fields(Opcode.POST_CONFIG, second),
        _post_fields(Opcode.POST, {"layer": 2, "tiles": 1, "vectors": 1, "code_base": scores.base}),
        encode(Opcode.END, {}),
    ]
    return [word >> 32 * index & 0xFFFFFFFF for word in words for index in range(8)]


def _lanes(
    array: np.ndarray, tensor: TensorInfo, rows: int, y: int, x: int, block: int
) -> list[int]:
    """Values of one vector, zero in the lanes that hold no channel."""
    channels = tensor.order[block * rows : (block + 1) * rows]
    return [0 if channel < 0 else int(array[y, x, channel]) for channel in channels]


def _pack(values: list[int], width: int) -> list[int]:
    total = sum((value & ((1 << width) - 1)) << index * width for index, value in enumerate(values))
    return [total >> shift & 0xFFFFFFFF for shift in range(0, max(32, width * len(values)), 32)]


def _first_layer(expected: dict[str, np.ndarray], tensors, rows: int) -> list[int]:
    codes, residual, _ = tensors
    words: list[int] = []
    accumulators = expected["first" + ACCUMULATOR_SUFFIX]
    for rectangle in (range(2), range(2, HEIGHT)):
        for block in range(len(codes.order) // rows):
            for y in rectangle:
                for x in range(WIDTH):
                    values = _lanes(accumulators, codes, rows, y, x, block)
                    words += record(ACCUMULATOR, 1, _pack(values, 32), rows)
                    values = _lanes(expected["residual"], residual, rows, y, x, block)
                    place = residual.base + y * residual.row_stride + x * residual.pixel_stride
                    words += record(STREAM, 1, _pack(values, STREAM_WIDTH), rows, place + block)
                    values = _lanes(expected["codes"], codes, rows, y, x, block)
                    granules = [
                        sum((value >> j & 1) << lane for lane, value in enumerate(values))
                        for j in range(4)
                    ]
                    place = codes.base + y * codes.row_stride + x * codes.pixel_stride + 4 * block
                    for pair in (0, 1):
                        data = granules[2 * pair] | granules[2 * pair + 1] << rows
                        enable = 3 if pair == 0 else 1
                        address = place // 2 + pair
                        words += record(ACTIVATION, 1, [data], rows, address, enable)
        words += record(RETIRED, 1, [], rows, enable=Engine.POST.value)
    return words


def _second_layer(expected: dict[str, np.ndarray], tensors, rows: int) -> list[int]:
    scores = tensors[2]
    values = _lanes(expected["scores"], scores, rows, 0, 0, 0)
    words = record(ACCUMULATOR, 2, _pack(values, 32), rows)
    lanes = 2 * rows
    for lane, value in enumerate(values):
        bits = value & 0xFFFFFFFF
        for part in range(max(1, 32 // lanes)):
            data = _pack([bits >> part * lanes & ((1 << lanes) - 1)], lanes)
            address = (scores.base + lane * scores.slots // rows) // 2 + part
            words += record(ACTIVATION, 2, data, rows, address, 3)
    return words + record(RETIRED, 2, [], rows, enable=Engine.POST.value)


def _program(
    config: AcceleratorConfig,
    tensors: tuple[TensorInfo, ...],
    stage: np.ndarray,
    memory: np.ndarray,
) -> Program:
    layers = [
        LayerInfo(
            tag=tag,
            name=name,
            kind="convolution",
            output_shape=shape,
            convolution_shape=shape,
            weight_label="W2",
            source_label="A3",
            binary_macs=1000 * tag,
            tensors=tuple(tensor.name for tensor in tensors if tensor.layer == tag),
        )
        for tag, name, shape in (
            (1, "first", (HEIGHT, WIDTH, CHANNELS)),
            (2, "second", (1, 1, CLASSES)),
        )
    ]
    return Program(
        network="stand-in",
        preset=config.name,
        fingerprint=config.fingerprint,
        stages=(Stage(entry=STAGE_ENTRY, memory=stage),),
        image_entry=ENTRY,
        image_address=IMAGE,
        image_shape=(4, 4, 3),
        result_address=RESULT,
        result_count=CLASSES,
        result_fraction=8,
        labels=("cat", "dog", "bird"),
        layers=tuple(layers),
        tensors=tensors,
        memory=memory,
    )


def stand_in(config: AcceleratorConfig, seed: int = 1) -> StandIn:
    """A two-layer program with random tensors; the second layer gives the logits."""
    rows = config.array.rows
    generator = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH, CHANNELS)
    expected = {
        "codes": generator.integers(0, 1 << PLANES, shape),
        "residual": generator.integers(-(1 << 15), 1 << 15, shape),
        "scores": generator.integers(-(1 << 20), 1 << 20, (1, 1, CLASSES)),
        "first" + ACCUMULATOR_SUFFIX: generator.integers(-(1 << 31), 1 << 31, shape),
    }
    expected["second" + ACCUMULATOR_SUFFIX] = expected["scores"].copy()
    tensors = _tensors(rows)
    instructions = _instructions(tensors, rows)
    records = _first_layer(expected, tensors, rows) + _second_layer(expected, tensors, rows)
    records += record(END, 0, [], rows)
    memory = np.zeros(RESULT + CLASSES, np.uint32)
    for address, words in (
        (ENTRY, instructions),
        (ENTRY + RECORDS_OFFSET, records),
        (RESULT, _pack(expected["scores"].ravel().tolist(), 32)),
    ):
        memory[address : address + len(words)] = words
    end = record(END, 0, [], rows)
    stage = np.zeros(STAGE_ENTRY + RECORDS_OFFSET + len(end), np.uint32)
    stage[STAGE_ENTRY + RECORDS_OFFSET :] = end
    return StandIn(_program(config, tensors, stage, memory), expected)
