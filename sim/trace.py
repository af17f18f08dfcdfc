"""Reading of the trace file that :mod:`sim.monitor` makes, with numpy: no loop over events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.isa import Engine

__all__ = ["Geometry", "Trace", "TraceError", "layer_cycles", "parse_trace"]

IntegerArray = NDArray[np.integer[Any]]

CYCLE_DIGITS = 10
LAYER_DIGITS = 2
ACCUMULATOR_BITS = 32
POST_ENGINE = Engine.POST.value

_NIBBLES = np.full(256, 255, np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _NIBBLES[_digit] = _value


class TraceError(RuntimeError):
    """The trace file does not have the form that the monitor writes."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What reading a trace must know about the accelerator."""

    rows: int
    activation_words: int
    stream_vectors: int
    """Places of stream vectors, spilled ones included."""
    stream_width: int

    @property
    def word_width(self) -> int:
        return 2 * self.rows


@dataclass(frozen=True, kw_only=True)
class Events:
    """Events of one kind in order; each array has one entry (or row) per event."""

    cycle: IntegerArray
    layer: IntegerArray
    address: IntegerArray
    """Empty shape (0) rows for accumulators: zeros."""
    enable: IntegerArray
    data: IntegerArray
    """Accumulators, stream: int64 [n, rows]. Activations: bits, uint8 [n, 2, rows]."""
    known: NDArray[np.bool_]
    """[n]: no digit of the event was unknown."""

    def of_layer(self, layer: int) -> Events:
        """Only the events that carry the layer's tag."""
        chosen = self.layer == layer
        return Events(**{name: array[chosen] for name, array in self.__dict__.items()})


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Everything that one run wrote to the trace."""

    accumulators: Events
    stream: Events
    activations: Events
    retired: IntegerArray
    """int64 [n, 3]: cycle, engine, layer."""
    busy: IntegerArray
    """int64 [n, 2]: cycle, 1 when the run starts and 0 when it stops."""

    @property
    def start(self) -> int:
        """Cycle at which the last run started."""
        starts = self.busy[self.busy[:, 1] == 1, 0]
        return int(starts[-1]) if len(starts) else 0

    @property
    def stop(self) -> int:
        """Cycle at which it stopped; if it did not, the last cycle of which the trace tells."""
        stops = self.busy[self.busy[:, 1] == 0, 0]
        if len(stops) and stops[-1] > self.start:
            return int(stops[-1])
        seen = [events.cycle for events in (self.accumulators, self.stream, self.activations)]
        return max([self.start, *(int(c[-1]) for c in (*seen, self.retired[:, 0]) if len(c))])


class _Lines:
    """Equally long lines of one kind as a matrix of nibbles, eaten from the left."""

    def __init__(self, lines: list[bytes], letter: bytes) -> None:
        self.count = len(lines)
        width = len(lines[0]) if lines else 0
        joined = b"".join(lines)
        if len(joined) != self.count * width:
            raise TraceError(f"trace lines {letter!r} must have one length")
        text = np.frombuffer(joined, np.uint8).reshape(self.count, width)
        digits = _NIBBLES[text[:, 1:]]
        self.known = ~(digits == 255).any(axis=1)
        self.digits = digits & 15
        self.position = 0

    def _take(self, digits: int) -> NDArray[np.uint8]:
        if not self.count:
            return np.zeros((0, digits), np.uint8)
        taken = self.digits[:, self.position : self.position + digits]
        if taken.shape[1] != digits:
            raise TraceError(f"trace line must have {digits} more digits, not {taken.shape[1]}")
        self.position += digits
        return taken

    def number(self, digits: int) -> IntegerArray:
        """The next ``digits`` hexadecimal digits as int64."""
        total = np.zeros(self.count, np.int64)
        for column in self._take(digits).T:
            total = total << 4 | column
        return total

    def bits(self, width: int) -> NDArray[np.uint8]:
        """The next number of ``width`` bits as bits, lowest first: uint8 [n, width]."""
        digits = (width + 3) // 4
        nibbles = self._take(digits)[:, ::-1]
        spread = nibbles[:, :, None] >> np.arange(4, dtype=np.uint8) & 1
        return spread.reshape(self.count, 4 * digits)[:, :width].astype(np.uint8)

    def signed(self, width: int, count: int) -> IntegerArray:
        """The next ``count`` numbers of ``width`` bits, lowest first: int64 [n, count]."""
        bits = self.bits(width * count).reshape(self.count, count, width)
        stored = 8 << (width - 1 >> 3).bit_length()
        extended = np.concatenate(
            [bits, np.repeat(bits[..., -1:], stored - width, axis=2)], axis=2
        ).reshape(self.count, count * stored)
        packed = np.packbits(extended, axis=1, bitorder="little")
        return packed.view(f"<i{stored // 8}").astype(np.int64)


def _digits(values: int) -> int:
    """Digits that Verilog's %h prints for a port that holds ``range(values)``."""
    return max(1, ((values - 1).bit_length() + 3) // 4)


def _events(lines: _Lines, geometry: Geometry, kind: str) -> Events:
    cycle, layer = lines.number(CYCLE_DIGITS), lines.number(LAYER_DIGITS)
    enable, address = np.ones(lines.count, np.int64), np.zeros(lines.count, np.int64)
    data: IntegerArray
    if kind == "a":
        data = lines.signed(ACCUMULATOR_BITS, geometry.rows)
    elif kind == "s":
        address = lines.number(_digits(geometry.stream_vectors))
        data = lines.signed(geometry.stream_width, geometry.rows)
    else:
        enable = lines.number(1)
        address = lines.number(_digits(geometry.activation_words))
        data = lines.bits(geometry.word_width).reshape(lines.count, 2, geometry.rows)
    return Events(
        cycle=cycle, layer=layer, address=address, enable=enable, data=data, known=lines.known
    )


def parse_trace(content: bytes, geometry: Geometry) -> Trace:
    """The events of a trace file, or of a part of one that ends with a whole line."""
    sorted_lines: dict[bytes, list[bytes]] = {
        letter: [] for letter in (b"a", b"s", b"w", b"r", b"b")
    }
    for line in content.split():
        kind = sorted_lines.get(line[:1])
        if kind is None:
            raise TraceError(f"trace line must start with a, s, w, r or b, not {line[:1]!r}")
        kind.append(line)
    matrices = {letter: _Lines(lines, letter) for letter, lines in sorted_lines.items()}
    retired, busy = matrices[b"r"], matrices[b"b"]
    return Trace(
        accumulators=_events(matrices[b"a"], geometry, "a"),
        stream=_events(matrices[b"s"], geometry, "s"),
        activations=_events(matrices[b"w"], geometry, "w"),
        retired=np.stack(
            [retired.number(CYCLE_DIGITS), retired.number(1), retired.number(LAYER_DIGITS)], axis=1
        ),
        busy=np.stack([busy.number(CYCLE_DIGITS), busy.number(1)], axis=1),
    )


def layer_cycles(trace: Trace, tags: list[int]) -> list[int]:
    """Cycles of the last run that each layer took, in the order of ``tags``.

    A layer ends when the post engine finishes the last instruction with its tag. The first layer
    begins with the run, every other where the one before ends, and the last ends with the run: so
    the cycles add up to those of the run. A layer that did not finish has 0.
    """
    post = trace.retired[trace.retired[:, 1] == POST_ENGINE]
    cycles, previous = [], trace.start
    for index, tag in enumerate(tags):
        own = post[post[:, 2] == tag, 0]
        end = trace.stop if index == len(tags) - 1 else int(own[-1]) if len(own) else previous
        cycles.append(max(0, end - previous))
        previous = max(previous, end)
    return cycles
