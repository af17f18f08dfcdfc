"""Comparison of a trace with the integer reference: pure numpy, no simulator.

Every tensor of every layer (:mod:`sim.reconstruction`) is compared bit for bit with the reference.
An element that was never written, or that holds an unknown bit, is a mismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compiler.program import LayerInfo, Program, TensorInfo

from .reconstruction import Reconstruction, reconstruct, reconstruct_accumulators
from .trace import Geometry, IntegerArray, Trace

__all__ = ["ACCUMULATORS", "LayerCheck", "Mismatch", "check_layer", "check_logits"]

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
class LayerCheck:
    """Outcome of the comparison of one layer, or of the logits that the host reads back."""

    name: str
    values_compared: int
    values_mismatched: int
    first: Mismatch | None


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
            channel=wrong[0] % program.result_count,
            y=wrong[0] // program.result_count,
            x=0,
            expected=int(wanted[wrong[0]]),
            got=logits[wrong[0]] if wrong[0] < len(logits) else None,
            cycle=None,
        )
    return LayerCheck(
        name=LOGITS, values_compared=wanted.size, values_mismatched=len(wrong), first=first
    )
