"""Integer model of the post engine, written from the architecture document, vector by vector.

It knows no cycles. Vectors are lists of Python integers; the memories are lists. Everything that
the datapath computes modulo 2**32 is wrapped explicitly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from golden.fixed_point import round_shift, saturate
from hw.config import AcceleratorConfig, DatapathConfig
from hw.isa import Opcode, OutputKind, PoolOperation, ResidualMode, decode

__all__ = ["PostModel"]

Vector = list[int]
STREAM_WIDTH = DatapathConfig().stream_width


def _wrap(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


@dataclass(frozen=True)
class _Place:
    """Counters of one vector."""

    inner_x: int
    inner_y: int
    outer_x: int
    outer_y: int
    window_first: bool
    window_last: bool


def _places(settings: dict[str, int], vectors: int) -> Iterator[_Place]:
    window = settings["inner_x"] * settings["inner_y"]
    for index in range(vectors):
        inner, outer = index % window, index // window
        yield _Place(
            inner % settings["inner_x"],
            inner // settings["inner_x"],
            outer % settings["outer_x"],
            outer // settings["outer_x"],
            inner == 0,
            inner == window - 1 or index == vectors - 1,
        )


@dataclass
class PostModel:
    """State of the engine and everything that it has done since the start."""

    config: AcceleratorConfig
    parameters: list[int] = field(default_factory=list)
    """Words of the parameter memory, unsigned."""
    thresholds: list[list[tuple[int, int]]] = field(default_factory=list)
    """Groups of (threshold, delta)."""
    streams: list[Vector] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)
    """Granules of the activation memory."""
    settings: dict[str, int] = field(default_factory=dict)
    accumulator_trace: list[tuple[int, Vector]] = field(default_factory=list)
    """(layer, accumulator + bias)."""
    stream_trace: list[tuple[int, int, Vector]] = field(default_factory=list)
    """(layer, address, stored vector)."""
    activation_trace: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(layer, enable, word address, word); granules that are not enabled are zero."""

    def __post_init__(self) -> None:
        memory, path = self.config.memory, self.config.datapath
        self.rows = self.config.array.rows
        self.parameters = self.parameters or [0] * memory.parameter_words
        self.thresholds = self.thresholds or [
            [(0, 0)] * path.comparators for _ in range(memory.threshold_groups)
        ]
        self.streams = self.streams or [[0] * self.rows for _ in range(memory.stream_vectors)]
        self.activations = self.activations or [0] * (2 * memory.activation_words)

    def execute(self, word: int, vectors: Iterator[Sequence[int]]) -> None:
        """Execute one instruction; accumulators are taken from ``vectors`` as needed."""
        opcode, fields = decode(word)
        if opcode is Opcode.POST_CONFIG:
            self.settings = fields
        elif opcode is Opcode.POST:
            for tile in range(fields["tiles"]):
                self._tile(fields, tile, vectors)
        else:
            raise ValueError(f"opcode must be POST_CONFIG or POST, not {opcode.name}")

    def _tile(self, post: dict[str, int], tile: int, vectors: Iterator[Sequence[int]]) -> None:
        settings, layer = self.settings, post["layer"]
        table = self._table(post["parameter_base"] + 3 * self.rows * tile)
        summing = settings["residual"] == ResidualMode.SUM.value
        pooling = settings["pool"] != PoolOperation.NONE.value and not summing
        biased: Vector = []
        total: Vector = []
        pool: list[Vector] = []
        for place in _places(settings, post["vectors"]):
            if place.window_first or not summing:
                accumulators = next(vectors) if settings["array"] else [0] * self.rows
                biased = [_wrap(a + t[0]) for a, t in zip(accumulators, table, strict=True)]
                total = [0] * self.rows
                self.accumulator_trace.append((layer, biased))
            residual = self._residual(post, place, tile)
            total = [t + r for t, r in zip(total, residual, strict=True)]
            if summing and not place.window_last:
                continue
            v = [
                _wrap(b + (t << settings["residual_shift"]))
                for b, t in zip(biased, total, strict=True)
            ]
            u = self._stream_and_affine(post, place, tile, table, v)
            pool = [] if place.window_first else pool
            pool.append(u)
            if place.window_last or not pooling:
                self._output(post, place, tile, self._pooled(table, pool if pooling else [u]))

    def _table(self, base: int) -> list[tuple[int, int, int, int]]:
        """Per row: bias, offset, gain, minimum."""
        words = [self.parameters[(base + k) % len(self.parameters)] for k in range(3 * self.rows)]
        return [
            (
                _signed(words[3 * row], 32),
                _signed(words[3 * row + 1], 32),
                _signed(words[3 * row + 2], 18),
                words[3 * row + 2] >> 31,
            )
            for row in range(self.rows)
        ]

    def _residual(self, post: dict[str, int], place: _Place, tile: int) -> Vector:
        settings = self.settings
        if settings["residual"] == ResidualMode.NONE.value:
            return [0] * self.rows
        address = post["residual_base"] + tile
        for count in ("inner_x", "inner_y", "outer_x", "outer_y"):
            address += getattr(place, count) * settings[f"residual_{count}"]
        return self.streams[address % len(self.streams)]

    def _outer(self, place: _Place, prefix: str) -> int:
        settings = self.settings
        return (
            place.outer_x * settings[f"{prefix}_outer_x"]
            + place.outer_y * settings[f"{prefix}_outer_y"]
        )

    def _stream_and_affine(
        self, post: dict[str, int], place: _Place, tile: int, table: list, v: Vector
    ) -> Vector:
        settings = self.settings
        if settings["relu_stream"]:
            v = [max(value, 0) for value in v]
        s = [saturate(round_shift(value, settings["stream_shift"]), STREAM_WIDTH) for value in v]
        if settings["store_stream"]:
            address = post["stream_base"] + tile + self._outer(place, "stream")
            address %= len(self.streams)
            self.streams[address] = s
            self.stream_trace.append((post["layer"], address, s))
        u = v
        if settings["affine"]:
            u = [_wrap(a * t[2] + t[1]) for a, t in zip(s, table, strict=True)]
        return [max(value, 0) for value in u] if settings["relu"] else u

    def _pooled(self, table: list, window: list[Vector]) -> Vector:
        columns = zip(*window, strict=True)
        if self.settings["pool"] == PoolOperation.SUM.value:
            return [_wrap(sum(column)) for column in columns]
        return [
            min(column) if t[3] else max(column) for column, t in zip(columns, table, strict=True)
        ]

    def _output(self, post: dict[str, int], place: _Place, tile: int, p: Vector) -> None:
        settings = self.settings
        kind = OutputKind(settings["output"])
        granule = (
            post["code_base"] + tile * settings["code_tile"] + self._outer(place, "code")
        ) % len(self.activations)
        if kind is OutputKind.CODES:
            self._write_planes(post["layer"], granule, [self._code(value) for value in p])
        elif kind is OutputKind.FIXED:
            codes = [
                saturate(round_shift(value, settings["output_shift"]), settings["output_bits"])
                for value in p
            ]
            self._write_planes(post["layer"], granule, codes)
        elif kind is OutputKind.RAW:
            self._write_raw(post["layer"], granule // 2, p)

    def _code(self, value: int) -> int:
        settings = self.settings
        code = settings["code_initial"]
        for group in range(settings["threshold_groups"]):
            index = (settings["threshold_base"] + group) % len(self.thresholds)
            for threshold, delta in self.thresholds[index]:
                if value > threshold:
                    code ^= delta
        return code

    def _write_planes(self, layer: int, granule: int, codes: Vector) -> None:
        planes = self.settings["planes"]
        granules = [
            sum((code >> plane & 1) << row for row, code in enumerate(codes))
            for plane in range(planes)
        ]
        if planes == 1:
            word = [0, 0]
            word[granule % 2] = granules[0]
            self._write_word(layer, granule // 2, 1 << granule % 2, word)
            return
        for pair in range((planes + 1) // 2):
            word = granules[2 * pair : 2 * pair + 2]
            self._write_word(layer, granule // 2 + pair, (1 << len(word)) - 1, [*word, 0][:2])

    def _write_raw(self, layer: int, address: int, values: Vector) -> None:
        lanes = 2 * self.rows
        for value in values:
            bits = value % (1 << 32)
            for part in range(max(1, 32 // lanes)):
                word = bits >> part * lanes
                granules = [word % (1 << self.rows), (word >> self.rows) % (1 << self.rows)]
                self._write_word(layer, address, 3, granules)
                address += 1

    def _write_word(self, layer: int, address: int, enable: int, word: list[int]) -> None:
        address %= len(self.activations) // 2
        for half in range(2):
            if enable >> half & 1:
                self.activations[2 * address + half] = word[half]
        self.activation_trace.append((layer, enable, address, word[0] | word[1] << self.rows))
