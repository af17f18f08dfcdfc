"""Uniform and binary quantizers of QONNX files, as bases with (nearly) power-of-two ratios.

A ``Quant`` node rounds x / scale to an integer between two bounds, a ``BipolarQuant`` node takes
the sign. Sums of fixed units reach exactly these integers, so their planes and bases fit the same
hardware as learned ones.

Source: the definitions of both operators in the QONNX specification and its reference execution
(``qonnx.custom_op.general``), computed in float32 as there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from golden.graph import Encoding, LearnedActivation, QuantizedWeights, Shape
from golden.onnx_nodes import MAX_PLANES
from golden.onnx_reader import NodeReader

__all__ = ["QuantizedConstant", "UniformQuantizer", "read_quantizer"]

ROUNDING_MODES = ("ROUND", "HALF_EVEN")
"""Two names of the same rule: to the nearest, halves to even."""

MAX_CONSTANT_BITS = 32


@dataclass(frozen=True)
class UniformQuantizer:
    """``scale * q`` with q the nearest integer in lowest..highest, or the sign of x."""

    scale: np.ndarray
    """float32, positive, of any shape that broadcasts."""
    lowest: int
    highest: int
    bipolar: bool
    """q is +1 where x >= 0 and -1 elsewhere."""

    def integers(self, values: np.ndarray) -> np.ndarray:
        """The integers q (int64) of ``values`` (float32)."""
        scaled = values / self.scale
        if self.bipolar:
            return np.where(scaled >= 0, 1, -1)
        return np.rint(np.clip(scaled, self.lowest, self.highest)).astype(np.int64)

    def quantized(self, values: np.ndarray) -> np.ndarray:
        """``values`` rounded to the levels (float32)."""
        return self.integers(values).astype(np.float32) * self.scale

    def activation(self, name: str, source: str, shape: Shape) -> LearnedActivation:
        """The same function as an activation of the graph; the scale must be a single one."""
        scale = float(self.scale.reshape(()))
        units = np.ones(1) if self.bipolar else _activation_units(self.lowest, self.highest)
        activation = LearnedActivation(
            name=name,
            inputs=(source,),
            shape=shape,
            basis=scale * units,
            encoding=Encoding.SIGNED if self.bipolar else Encoding.UNSIGNED,
        )
        levels = np.rint(activation.sorted_levels()[0] / scale).astype(np.int64)
        # Halves go to the even neighbour: upwards from odd levels. The sign of 0 is +.
        upwards = (levels[:-1] % 2 != 0) & (np.diff(levels) == 1) | self.bipolar
        return replace(activation, inclusive=tuple(bool(tie) for tie in upwards))


@dataclass(frozen=True)
class QuantizedConstant:
    """A stored tensor behind a quantizer: weights or a bias."""

    name: str
    quantizer: UniformQuantizer
    integers: np.ndarray
    """int64."""

    @property
    def values(self) -> np.ndarray:
        """float32."""
        return self.integers.astype(np.float32) * self.quantizer.scale

    def transposed(self) -> QuantizedConstant:
        """The matrix with its axes exchanged."""
        scale = self.quantizer.scale
        quantizer = replace(self.quantizer, scale=scale.T if scale.ndim == 2 else scale[..., None])
        return QuantizedConstant(self.name, quantizer, self.integers.T)

    def weights(self, reader: NodeReader) -> QuantizedWeights:
        """Planes and bases of weights [Cout, ...] that the node of ``reader`` reads."""
        shape, scale = self.integers.shape, self.quantizer.scale
        aligned = scale.reshape((1,) * (len(shape) - scale.ndim) + scale.shape)
        reader.require(
            aligned.shape[0] in (1, shape[0]) and aligned.size == aligned.shape[0],
            f"weight scale of {self.name!r} must be one number, or one per output channel in the "
            f"shape {[shape[0], *(1,) * (len(shape) - 1)]}, not {list(scale.shape)}",
        )
        channels = np.broadcast_to(aligned.reshape(-1), shape[:1]).astype(np.float64)
        if self.quantizer.bipolar:
            return QuantizedWeights((self.integers > 0)[None], channels[None])
        largest = int(np.abs(self.integers).max())
        planes, units = _integer_planes(self.integers, largest)
        reader.require(
            len(planes) <= MAX_PLANES,
            f"weights of {self.name!r} must be integers of -127..127 times the scale, to fit "
            f"{MAX_PLANES} planes, not up to {largest} (use narrow_range)",
        )
        return QuantizedWeights(planes, units[:, None] / 2 * channels)


def _integer_planes(integers: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers in -largest..largest as ``sum_i units[i] / 2 * (2 * planes[i] - 1)``.

    The units are powers of two but for the last, which makes their sum 2 * largest: subset sums
    then reach everything between, zero included, which sums of powers of two alone would miss.

    Returns:
        Planes (bool [K, ...]) and units (float64 [K]).
    """
    count = max((2 * largest).bit_length(), 1)
    top = 2 * largest - (2 ** (count - 1) - 1)
    numbers = integers + largest
    last = numbers > 2 ** (count - 1) - 1
    numbers = np.where(last, numbers - top, numbers)
    planes = [(numbers >> bit & 1).astype(bool) for bit in range(count - 1)]
    units = [2.0**bit for bit in range(count - 1)]
    return np.stack([*planes, last]), np.array([*units, top])


def _activation_units(lowest: int, highest: int) -> np.ndarray:
    """Units (float64 [K]) whose subset sums are the integers lowest..highest, and no others.

    Powers of two but for the last: what is left of ``highest`` if nothing is negative, else
    ``lowest``, as in two's complement. The code of zeros has the value 0, as padding needs.
    """
    powers = (highest if lowest < 0 else highest >> 1).bit_length()
    rest = lowest if lowest < 0 else highest - (2**powers - 1)
    return np.array([*(2.0**bit for bit in range(powers)), rest])


def read_quantizer(reader: NodeReader, constant: bool) -> UniformQuantizer:
    """The quantizer of a ``Quant`` or ``BipolarQuant`` node.

    Args:
        reader: The node.
        constant: Whether it quantizes a stored tensor, whose scale may have axes.
    """
    scale = reader.parameter(1, "scale").astype(np.float32)
    reader.require(bool((scale > 0).all()), f"scale must be positive, not {scale.min():g}")
    if not constant:
        reader.require(
            scale.size == 1,
            f"scale of an activation must be one number, not of the shape {list(scale.shape)}",
        )
    if reader.operator == "BipolarQuant":
        return UniformQuantizer(scale, -1, 1, bipolar=True)
    zero_point = reader.parameter(2, "zero point")
    reader.require(not zero_point.any(), f"zero point must be 0, not {zero_point.ravel().tolist()}")
    bits = _bits(reader, MAX_CONSTANT_BITS if constant else MAX_PLANES)
    rounding = reader.text("rounding_mode", "ROUND")
    reader.require(
        rounding.upper() in ROUNDING_MODES,
        f"attribute 'rounding_mode' must be ROUND, not {rounding}",
    )
    signed, narrow = _flag(reader, "signed"), _flag(reader, "narrow")
    if signed and bits == 1:
        return UniformQuantizer(scale, -1, 1, bipolar=True)
    if signed:
        highest = 2 ** (bits - 1) - 1
        return UniformQuantizer(scale, -highest - (not narrow), highest, bipolar=False)
    reader.require(not narrow or bits > 1, "a narrow unsigned quantizer must have 2 bits or more")
    return UniformQuantizer(scale, 0, 2**bits - 1 - narrow, bipolar=False)


def _bits(reader: NodeReader, most: int) -> int:
    values = reader.parameter(3, "bit width")
    bits = values.ravel().tolist()
    reader.require(
        len(bits) == 1 and bits[0] in range(1, most + 1),
        f"bit width must be one whole number in 1..{most}, not {bits}",
    )
    return int(bits[0])


def _flag(reader: NodeReader, name: str) -> bool:
    value = reader.integer(name, 1)
    reader.require(value in (0, 1), f"attribute {name!r} must be 0 or 1, not {value}")
    return bool(value)
