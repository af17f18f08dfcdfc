"""Accelerator configuration: immutable, validated, with derived sizes and named presets.

The block structure that the sizes describe (``docs/architecture.md`` has the picture):

* A *granule* is one bit plane of ``rows`` consecutive channels of one pixel: ``rows`` bits.
* A *word* of the activation memory is two granules.
* A *step* of the dot product is ``granules`` granules: ``lanes = granules * rows`` bits.
* The array has ``rows`` x ``columns`` processing elements; a row is an output channel, a column
  an output pixel; planes follow one another in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from .memory.sdram_part import SdramPart, sdram_part

__all__ = [
    "PRESETS",
    "AcceleratorConfig",
    "ArrayConfig",
    "ConfigError",
    "DatapathConfig",
    "MemoryConfig",
    "preset",
]

GRANULES_PER_WORD = 2


class ConfigError(ValueError):
    """A configuration that cannot be built; the text names the field and the rule."""


def _require_power_of_two(name: str, value: int, low: int, high: int) -> None:
    if value < low or value > high or value & (value - 1):
        raise ConfigError(f"{name} must be a power of two from {low} to {high}, not {value}")


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """The processing-element array and its drain."""

    rows: int = 16
    """Output channels computed at once, and channels per granule."""

    columns: int = 8
    """Output pixels computed at once."""

    granules: int = 2
    """Granules of a dot-product step."""

    drain_lanes: int = 2
    """Columns drained at once; ``rows * drain_lanes`` basis multipliers."""

    count_width: int = 13
    """Width in bits of a processing element's popcount accumulator."""

    def __post_init__(self) -> None:
        _require_power_of_two("array rows", self.rows, 4, 64)
        _require_power_of_two("array columns", self.columns, 2, 64)
        if not 1 <= self.granules <= 16:
            raise ConfigError(f"array granules must be 1 to 16, not {self.granules}")
        _require_power_of_two("array drain lanes", self.drain_lanes, 1, self.columns)
        if not 8 <= self.count_width <= 16:
            raise ConfigError(f"array count width must be 8 to 16, not {self.count_width}")

    @property
    def lanes(self) -> int:
        """Bits of one dot-product step."""
        return self.granules * self.rows

    @property
    def word_width(self) -> int:
        """Bits of a word of the activation memory."""
        return GRANULES_PER_WORD * self.rows

    @property
    def drain_period(self) -> int:
        """Cycles that draining one pass takes: the shortest distance between passes."""
        return self.columns // self.drain_lanes

    @property
    def binary_macs_per_cycle(self) -> int:
        """Binary multiply-accumulates per cycle at full occupancy."""
        return self.rows * self.columns * self.lanes

    @property
    def pass_words_maximum(self) -> int:
        """Longest pass in words: its count must fit ``count_width`` bits."""
        return ((1 << self.count_width) - 1) // self.lanes


STREAM_PLACES = 1 << 16
"""Stream vectors that instructions can address."""


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """On-chip memories; depths in the unit that the name says."""

    column_granules: int = 1024
    """Granules in each half of a column buffer."""

    weight_words: int = 2048
    """Weight words per row."""

    coefficient_words: int = 1024
    """Coefficients per row."""

    parameter_words: int = 4096
    """32-bit words of per-channel biases, offsets and gains."""

    window_entries: int = 512
    """Entries of the window table: one per word of a convolution window."""

    pass_entries: int = 512
    """Entries of the pass table: one per (range, weight plane, activation plane)."""

    threshold_groups: int = 256
    """Groups of ``DatapathConfig.comparators`` thresholds."""

    activation_words: int = 8192
    """Words of the activation memory (plane tensors and raw images)."""

    stream_vectors: int = 2048
    """Vectors of ``rows`` stream values; 18 bits fill the width of a block RAM."""

    spill_vectors: int = 0
    """Vectors on their way from the post engine to the external memory; 0: streams stay on chip."""

    external_words: int = 8192
    """32-bit words behind the external memory port."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("column_granules", 16, 8192),
            ("weight_words", 16, 65536),
            ("coefficient_words", 16, 4096),
            ("parameter_words", 16, 8192),
            ("window_entries", 16, 2048),
            ("pass_entries", 16, 512),
            ("threshold_groups", 4, 512),
            ("activation_words", 16, 65536),
            ("stream_vectors", 16, 65536),
        ):
            _require_power_of_two(f"memory {name}", getattr(self, name), low, high)
        if self.spill_vectors:
            if self.stream_vectors > STREAM_PLACES // 2:
                raise ConfigError(
                    f"memory stream_vectors must be at most {STREAM_PLACES // 2} if vectors are "
                    f"spilled, not {self.stream_vectors}"
                )
            spilled = self.spill_vectors
            _require_power_of_two("memory spill_vectors", spilled, 4, self.stream_vectors)
        if not 1024 <= self.external_words <= 1 << 24:
            raise ConfigError(
                f"memory external_words must be 1024 to {1 << 24}, not {self.external_words}"
            )

    @property
    def stream_places(self) -> int:
        """Addresses of stream vectors: the stream memory, and behind it the spilled vectors."""
        return 2 * self.stream_vectors if self.spill_vectors else self.stream_vectors


@dataclass(frozen=True, kw_only=True)
class DatapathConfig:
    """Widths behind the array. They equal ``golden.integer_network.Arithmetic``."""

    coefficient_width: int = 18
    accumulator_width: int = 32
    stream_width: int = 18
    planes_maximum: int = 16
    """Most planes of a stored tensor."""

    comparators: int = 3
    """Thresholds compared per cycle and channel: 3 requantizes 2 bits in one cycle."""

    patch_pixels: int = 11
    """Longest kernel row that the patch former packs (pixels of 4 channels)."""

    def __post_init__(self) -> None:
        if not 1 <= self.comparators <= 15:
            raise ConfigError(f"datapath comparators must be 1 to 15, not {self.comparators}")
        if not 1 <= self.patch_pixels <= 15:
            raise ConfigError(f"datapath patch_pixels must be 1 to 15, not {self.patch_pixels}")


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """Everything that the gateware, the compiler and the simulators are parameterised with."""

    name: str
    array: ArrayConfig = field(default_factory=ArrayConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    datapath: DatapathConfig = field(default_factory=DatapathConfig)
    clock_mhz: float = 50.0
    """Clock that the board build of this preset asks for."""

    sdram: str | None = None
    """Part that is the external memory, as in ``hw.memory.sdram_part``; None: block RAM."""

    def __post_init__(self) -> None:
        part = self.sdram_part
        if part is None:
            return
        part.timing(self.clock_mhz)
        if self.memory.external_words != part.words:
            raise ConfigError(
                f"memory external_words must be {part.words}, the size of the SDRAM {part.name}, "
                f"not {self.memory.external_words}"
            )

    @property
    def sdram_part(self) -> SdramPart | None:
        """The part that is the external memory; None: block RAM."""
        return None if self.sdram is None else sdram_part(self.sdram)

    @property
    def spills(self) -> bool:
        """Whether tensors that do not fit the chip lie in the external memory: it is large."""
        return self.sdram is not None

    @cached_property
    def fingerprint(self) -> int:
        """32-bit hash of all sizes: a program carries it, the accelerator reports it."""
        import zlib

        text = repr((self.array, self.memory, self.datapath))
        return zlib.crc32(text.encode())

    @property
    def multipliers(self) -> int:
        """18 x 18 multipliers: the drain's and one affine multiplier per row."""
        return self.array.rows * (self.array.drain_lanes + 1)


_TINY = AcceleratorConfig(
    name="tiny",
    array=ArrayConfig(rows=4, columns=4, drain_lanes=2, count_width=10),
    memory=MemoryConfig(
        column_granules=4096,
        weight_words=2048,
        coefficient_words=1024,
        parameter_words=1024,
        window_entries=128,
        pass_entries=256,
        threshold_groups=128,
        activation_words=4096,
        stream_vectors=1024,
        external_words=8192,
    ),
    clock_mhz=50.0,
)

_ULX3S_85F = AcceleratorConfig(
    name="ulx3s-85f",
    array=ArrayConfig(granules=3),
    memory=MemoryConfig(weight_words=1024),
    clock_mhz=40.0,
)

# For networks whose tensors no board preset holds, in simulation only: the array of the largest
# board, every memory as deep as instructions can address, programs in the external memory from
# the start.
_SIMULATION_LARGE = AcceleratorConfig(
    name="simulation-large",
    array=_ULX3S_85F.array,
    memory=MemoryConfig(
        column_granules=8192,
        weight_words=32768,
        coefficient_words=4096,
        parameter_words=8192,
        window_entries=2048,
        pass_entries=512,
        threshold_groups=512,
        activation_words=65536,
        stream_vectors=65536,
        external_words=1 << 24,
    ),
    clock_mhz=40.0,
)

_ULX3S_12F = AcceleratorConfig(
    name="ulx3s-12f",
    array=ArrayConfig(rows=4, columns=8, drain_lanes=2, count_width=12),
    memory=MemoryConfig(
        column_granules=1024,
        weight_words=512,
        coefficient_words=256,
        parameter_words=512,
        window_entries=256,
        pass_entries=128,
        threshold_groups=64,
        activation_words=2048,
        stream_vectors=512,
        external_words=4096,
    ),
    clock_mhz=50.0,
)

_ULX3S_45F = replace(
    _ULX3S_12F,
    name="ulx3s-45f",
    array=replace(_ULX3S_12F.array, rows=8),
    memory=replace(
        _ULX3S_12F.memory,
        parameter_words=1024,
        pass_entries=256,
        threshold_groups=128,
        activation_words=4096,
        stream_vectors=1024,
        external_words=8192,
    ),
)

_BOARDS = (_ULX3S_12F, replace(_ULX3S_12F, name="ulx3s-25f"), _ULX3S_45F, _ULX3S_85F)


SPILL_VECTORS = {4: 512, 8: 512, 16: 1024}
"""By rows: two blocks each. Block RAMs are 512 deep where they are widest."""


def _with_sdram(
    config: AcceleratorConfig, part: str, *, spills: bool = True, suffix: str = "sdram"
) -> AcceleratorConfig:
    """The preset with a memory chip behind the port: all boards have 16Mx16, some 32Mx16."""
    words = sdram_part(part).words
    spill_vectors = SPILL_VECTORS[config.array.rows] if spills else 0
    memory = replace(config.memory, external_words=words, spill_vectors=spill_vectors)
    return replace(config, name=f"{config.name}-{suffix}", memory=memory, sdram=part)


PRESETS: dict[str, AcceleratorConfig] = {
    config.name: config
    for config in (
        _TINY,
        *_BOARDS,
        *(_with_sdram(board, "16Mx16") for board in _BOARDS),
        _with_sdram(_ULX3S_85F, "32Mx16", suffix="sdram64"),
        _SIMULATION_LARGE,
        _with_sdram(_SIMULATION_LARGE, "32Mx16", spills=False),
    )
}


def preset(name: str) -> AcceleratorConfig:
    """The preset called ``name``; raises :class:`ConfigError` that lists the known ones."""
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise ConfigError(f"preset must be one of {known}, not {name!r}") from None
