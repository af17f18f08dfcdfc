"""The instruction set: every field of every instruction and table entry, defined once.

The gateware decodes with the layouts made here, the compiler encodes and the simulators and the
disassembler decode with the functions made here, and ``docs/isa.md`` is generated from here.

An instruction is 256 bits: eight 32-bit words, least significant first, in external memory. It
starts with a common header. Four engines (DMA, FILL, COMPUTE, POST) execute their instructions in
program order, each at its own pace; semaphores order them among one another.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from amaranth.lib import data, enum

__all__ = [
    "HEADER_FIELDS",
    "INSTRUCTION_FIELDS",
    "INSTRUCTION_WIDTH",
    "INSTRUCTION_WORDS",
    "SEMAPHORES",
    "Counter",
    "DmaTarget",
    "Engine",
    "Field",
    "IsaError",
    "Opcode",
    "OutputKind",
    "PoolOperation",
    "Register",
    "ResidualMode",
    "Semaphore",
    "Status",
    "Trap",
    "decode",
    "encode",
    "header_layout",
    "instruction_layout",
]

INSTRUCTION_WIDTH = 256
INSTRUCTION_WORDS = INSTRUCTION_WIDTH // 32
SEMAPHORES = 10
SEMAPHORE_WIDTH = 6
PROTOCOL_VERSION = 2
"""Of registers, instructions and external data formats: the host refuses any other device."""


class IsaError(ValueError):
    """A value that an instruction cannot hold, or a word that is no instruction."""


class Opcode(enum.Enum, shape=4):
    """What an instruction does. Zero is illegal, so that cleared memory traps."""

    DMA = 1
    FILL = 2
    COMPUTE = 3
    POST_CONFIG = 4
    POST = 5
    SYNC = 6
    END = 7


class Engine(enum.Enum, shape=2):
    """Engines with an instruction queue of their own."""

    DMA = 0
    FILL = 1
    COMPUTE = 2
    POST = 3


class Semaphore(enum.IntEnum, shape=4):
    """Names of the semaphores by convention of the compiler; the gateware treats all alike."""

    FILLED_0 = 0
    """FILL to COMPUTE: half 0 of the column buffers is ready."""
    FILLED_1 = 1
    FREED_0 = 2
    """COMPUTE to FILL: half 0 may be overwritten."""
    FREED_1 = 3
    LOADED = 4
    """DMA to COMPUTE: weights, coefficients and tables are there."""
    LOADED_POST = 5
    """DMA to POST: parameters and thresholds are there."""
    READY = 6
    """POST or DMA to FILL: another part of an activation tensor is written."""
    RELEASED = 7
    """POST to DMA: a unit of work is done, its tables may be overwritten, results be read."""
    ARRIVED = 8
    """DMA to FILL: a block of a tensor in external memory has been loaded."""
    CONSUMED = 9
    """COMPUTE to DMA: the weights of a part of a window have been used."""


class DmaTarget(enum.Enum, shape=4):
    """On-chip memory that a DMA instruction loads."""

    WEIGHTS = 0
    COEFFICIENTS = 1
    PARAMETERS = 2
    WINDOWS = 3
    PASSES = 4
    THRESHOLDS = 5
    ACTIVATIONS = 6
    STREAMS = 7
    """Stream memory; a store takes vectors that the post engine has spilled."""


class ResidualMode(enum.Enum, shape=2):
    """What the post engine adds to a vector from the stream memory."""

    NONE = 0
    ADD = 1
    """One stream vector per array vector, walking the inner and outer counters."""
    SUM = 2
    """The sum of inner_x * inner_y stream vectors per array vector."""


class PoolOperation(enum.Enum, shape=2):
    NONE = 0
    MAXIMUM = 1
    SUM = 2


class OutputKind(enum.Enum, shape=2):
    NONE = 0
    CODES = 1
    FIXED = 2
    RAW = 3


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of an instruction: name, width in bits or enumeration, meaning."""

    name: str
    shape: int | type
    text: str
    optional: bool = False
    """Zero where an instruction does not name it."""

    @functools.cached_property
    def width(self) -> int:
        return self.shape if isinstance(self.shape, int) else _enum_width(self.shape)


def _enum_width(shape: type) -> int:
    from amaranth.hdl import Shape

    return Shape.cast(shape).width


HEADER_FIELDS: tuple[Field, ...] = (
    Field("opcode", Opcode, "what to do"),
    Field("layer", 8, "layer tag for traces and counters"),
    Field("wait", SEMAPHORES, "semaphores that must be positive; each is decremented at the start"),
    Field("signal", SEMAPHORES, "semaphores that are incremented at the end"),
)

INSTRUCTION_FIELDS: dict[Opcode, tuple[Field, ...]] = {
    Opcode.DMA: (
        Field("store", 1, "0: external to on-chip; 1: on-chip to external"),
        Field("target", DmaTarget, "on-chip memory (store: must be ACTIVATIONS or STREAMS)"),
        Field(
            "address",
            16,
            "first entry of the on-chip memory (STREAMS, store: of the spilled vectors)",
        ),
        Field("external", 24, "first 32-bit word of the external memory"),
        Field("count", 20, "entries (WEIGHTS, COEFFICIENTS: entries of all rows, rows innermost)"),
        Field(
            "runs", 12, "ACTIVATIONS, STREAMS: more runs of `count` entries in a row", optional=True
        ),
        Field("run_stride", 16, "external words from one run to the next", optional=True),
        Field("rows", 12, "ACTIVATIONS, STREAMS: more rows of such runs", optional=True),
        Field("row_stride", 20, "external words from one row to the next", optional=True),
    ),
    Opcode.FILL: (
        Field("half", 1, "half of the column buffers that is written from its start"),
        Field("image", 1, "1: source is raw pixels, form row patches of 8 planes"),
        Field("source", 16, "activation memory word of the first interior row"),
        Field("source_stride", 16, "words from one interior row to the next"),
        Field("top", 8, "zero rows before the interior"),
        Field("rows", 12, "interior rows"),
        Field("bottom", 8, "zero rows after the interior"),
        Field("left", 10, "zero words (image: pixels) before the interior of each row"),
        Field("words", 12, "interior words (image: pixels) of each row"),
        Field("right", 10, "zero words (image: pixels) after the interior of each row"),
        Field("kernel", 4, "image: pixels per patch"),
        Field("stride", 4, "image: pixels from one patch to the next"),
        Field("granules", 4, "image: granules per plane of a patch"),
    ),
    Opcode.COMPUTE: (
        Field("half", 1, "half of the column buffers that is read"),
        Field("tiles", 8, "channel tiles of `rows` output channels (outermost loop)"),
        Field("pixels", 16, "pixels per tile; `columns` at a time form a strip (middle loop)"),
        Field("pass_first", 9, "first entry of the pass table"),
        Field("passes", 10, "passes per strip (inner loop)"),
        Field("weight_base", 16, "weight word of the first tile"),
        Field("weight_stride", 14, "weight words from one tile to the next"),
        Field("coefficient_base", 12, "coefficient of the first tile's first pass, then running"),
        Field("inner_x", 4, "pixel order: innermost count"),
        Field("inner_y", 4, "pixel order: second count"),
        Field("outer_x", 10, "pixel order: third count; the fourth runs to the end"),
        Field("stride_inner_x", 13, "column granules per step of the innermost count"),
        Field("stride_inner_y", 13, "column granules per step of the second count"),
        Field("stride_outer_x", 13, "column granules per step of the third count"),
        Field("stride_outer_y", 13, "column granules per step of the fourth count"),
        Field("partial", 1, "1: one strip, whose sums the next command goes on with; no vectors"),
    ),
    Opcode.POST_CONFIG: (
        Field("array", 1, "1: vectors come from the array; 0: zero vectors (stream layers)"),
        Field("residual", ResidualMode, "stream vectors that are added"),
        Field("residual_shift", 5, "left shift of the residual"),
        Field("relu_stream", 1, "clip at zero before the stream value is formed"),
        Field("store_stream", 1, "store the stream value"),
        Field("stream_shift", 5, "right shift that forms the stream value"),
        Field("affine", 1, "go on with stream * gain + offset"),
        Field("relu", 1, "clip at zero after that"),
        Field("pool", PoolOperation, "reduce inner_x * inner_y vectors to one"),
        Field("output", OutputKind, "what is written to the activation memory"),
        Field("output_shift", 5, "FIXED: right shift"),
        Field("output_bits", 5, "FIXED: bits to saturate to, 1 to 16"),
        Field("planes", 5, "CODES, FIXED: planes that are written"),
        Field("threshold_base", 9, "CODES: first threshold group"),
        Field("threshold_groups", 9, "CODES: groups"),
        Field("code_initial", 16, "CODES: code of the lowest level"),
        Field("inner_x", 4, "vector order: innermost count"),
        Field("inner_y", 4, "vector order: second count"),
        Field("outer_x", 10, "vector order: third count; the fourth runs to the end"),
        Field("residual_inner_x", 10, "stream vectors per step of the innermost count"),
        Field("residual_inner_y", 12, "stream vectors per step of the second count"),
        Field("residual_outer_x", 10, "stream vectors per step of the third count"),
        Field("residual_outer_y", 12, "stream vectors per step of the fourth count"),
        Field("stream_outer_x", 10, "stored stream vectors per step of the third count"),
        Field("stream_outer_y", 12, "stored stream vectors per step of the fourth count"),
        Field("code_tile", 8, "activation granules from one channel tile to the next"),
        Field("code_outer_x", 12, "activation granules per step of the third count"),
        Field("code_outer_y", 16, "activation granules per step of the fourth count"),
    ),
    Opcode.POST: (
        Field("tiles", 8, "channel tiles (outermost loop)"),
        Field("vectors", 16, "vectors per tile before pooling (SUM: before summing)"),
        Field("parameter_base", 13, "parameter words of the first tile, then running"),
        Field("residual_base", 16, "stream vector of the first tile's first residual"),
        Field("stream_base", 16, "stream vector of the first tile's first stored value"),
        Field("code_base", 17, "activation granule of the first tile's first output"),
    ),
    Opcode.SYNC: (Field("engine", Engine, "engine whose queue waits and signals"),),
    Opcode.END: (),
}
"""Fields after the header, lowest bit first. END stops fetching; the run is done when every
engine is idle."""


def header_layout() -> data.StructLayout:
    """Layout of the fields that all instructions share, at bit 0."""
    return data.StructLayout({field.name: field.shape for field in HEADER_FIELDS})


def instruction_layout(opcode: Opcode) -> data.StructLayout:
    """Layout of a whole instruction, padded to ``INSTRUCTION_WIDTH`` by the field ``unused``."""
    members: dict[str, int | type] = {
        field.name: field.shape for field in HEADER_FIELDS + INSTRUCTION_FIELDS[opcode]
    }
    used = sum(field.width for field in HEADER_FIELDS + INSTRUCTION_FIELDS[opcode])
    if used > INSTRUCTION_WIDTH:
        raise IsaError(f"{opcode.name} must have at most {INSTRUCTION_WIDTH} bits, not {used}")
    if used < INSTRUCTION_WIDTH:
        members["unused"] = INSTRUCTION_WIDTH - used
    return data.StructLayout(members)


def encode(opcode: Opcode, fields: Mapping[str, int]) -> int:
    """One instruction as a 256-bit integer.

    Unlike ``StructLayout.const`` this refuses values that do not fit, unknown fields and missing
    ones (``wait`` and ``signal`` default to none, ``layer`` and optional fields to 0).
    """
    values = {"layer": 0, "wait": 0, "signal": 0, **fields, "opcode": opcode.value}
    position = word = 0
    for spec in HEADER_FIELDS + INSTRUCTION_FIELDS[opcode]:
        if spec.name not in values and not spec.optional:
            raise IsaError(f"{opcode.name} must have the field {spec.name}")
        value = values.pop(spec.name, 0)
        value = value.value if isinstance(value, enum.Enum) else int(value)
        if not 0 <= value < 1 << spec.width:
            limit = (1 << spec.width) - 1
            raise IsaError(f"{opcode.name}.{spec.name} must be 0 to {limit}, not {value}")
        word |= value << position
        position += spec.width
    if values:
        raise IsaError(f"{opcode.name} must not have the field {next(iter(values))}")
    return word


def decode(word: int) -> tuple[Opcode, dict[str, int]]:
    """The opcode and all fields (``opcode`` left out) of a 256-bit instruction."""
    try:
        opcode = Opcode(word & 0xF)
    except ValueError:
        raise IsaError(f"opcode must be 1 to 7, not {word & 0xF}") from None
    position, fields = 0, {}
    for spec in HEADER_FIELDS + INSTRUCTION_FIELDS[opcode]:
        fields[spec.name] = (word >> position) & ((1 << spec.width) - 1)
        position += spec.width
    if word >> position:
        raise IsaError(f"{opcode.name} must have zeros above bit {position - 1}")
    del fields["opcode"]
    return opcode, fields


class Register(enum.Enum, shape=8):
    """Word addresses of the control registers on the host port."""

    IDENTITY = 0
    """Read: 0x4C514600 | PROTOCOL_VERSION."""
    FINGERPRINT = 1
    """Read: ``AcceleratorConfig.fingerprint``."""
    START = 2
    """Write: external word address of the first instruction; starts the run."""
    STATUS = 3
    """Read: bits of ``Status``, trap cause in bits 8 and up."""
    RESET = 4
    """Write (any value): stop; clears everything but the memories and WATCHDOG."""
    WATCHDOG = 5
    """Cycles after which a run traps; 0 never does."""
    TRAP_ADDRESS = 6
    """Read: external word address of the instruction that trapped."""
    COUNTERS = 16
    """Read: first of the performance counters, in the order of ``Counter``."""


IDENTITY_MAGIC = 0x4C514600


class Status(enum.Flag, shape=8):
    BUSY = 1
    DONE = 2
    TRAPPED = 4


class Trap(enum.Enum, shape=8):
    """Why a run was stopped."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    WATCHDOG = 2
    BAD_ADDRESS = 3


class Counter(enum.Enum, shape=8):
    """Performance counters of the last run, in cycles."""

    TOTAL = 0
    ARRAY_BUSY = 1
    """The array takes a word."""
    WAIT_SEMAPHORE = 2
    """The compute engine waits for a semaphore (fill, load or post not done)."""
    WAIT_DRAIN = 3
    """The array waits for the multipliers to finish the last pass."""
    WAIT_POST = 4
    """The array waits for room in the post queue."""
    FILL_BUSY = 5
    DMA_BUSY = 6
    POST_BUSY = 7
