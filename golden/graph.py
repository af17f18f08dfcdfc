"""Float-level network graph: what an exported file says, as typed values, without any framework.

A :class:`Graph` lists its nodes in execution order. Each node writes one tensor; tensors are
named after it. Shapes leave out the batch: ``(channels, height, width)`` or ``(features,)``.
All parameters are numpy arrays in the layout of the file (weights [Cout, Cin, kh, kw]).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "Add",
    "AveragePool",
    "BatchNorm",
    "ChannelPad",
    "Concat",
    "Convolution",
    "Encoding",
    "FixedPoint",
    "Flatten",
    "FloatWeights",
    "GlobalAveragePool",
    "Graph",
    "Image",
    "LearnedActivation",
    "Linear",
    "MaxPool",
    "ModelError",
    "Node",
    "Padding",
    "QuantizedWeights",
    "Relu",
    "Shape",
    "Weights",
    "code_table",
    "window_outputs",
]

Shape = tuple[int, ...]
Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""


class ModelError(ValueError):
    """A model that cannot be read or cannot be lowered. The text names the node and the rule."""


class Encoding(enum.Enum):
    """Alphabet of an activation code bit."""

    UNSIGNED = "unsigned"
    """{0,1}."""
    SIGNED = "signed"
    """{-1,+1}."""


def code_table(planes: int, encoding: Encoding) -> np.ndarray:
    """All 2^planes codes in counting order, float64 [2^planes, planes]; column j is bit j."""
    ones = (np.arange(2**planes)[:, None] >> np.arange(planes)) & 1
    return (2 * ones - 1 if encoding is Encoding.SIGNED else ones).astype(np.float64)


def window_outputs(size: int, before: int, after: int, window: int, stride: int) -> int:
    """Windows that fit along one axis of ``size`` with that many padding elements."""
    return (size + before + after - window) // stride + 1


@dataclass(frozen=True, kw_only=True)
class Node:
    """What all nodes have."""

    name: str
    """Name of the node and of the tensor it writes."""
    inputs: tuple[str, ...]
    shape: Shape
    """Of the output."""


@dataclass(frozen=True, kw_only=True)
class Image(Node):
    """Raw pixels p, uint8 [height, width, channels], as (p - 128) / 128, channels first."""


@dataclass(frozen=True)
class QuantizedWeights:
    """Weights ``sum_i basis[i, c] * (2 * planes[i, c] - 1)``."""

    planes: np.ndarray
    """bool [K, Cout, ...]; True is +1."""
    basis: np.ndarray
    """float64 [K, Cout]."""

    @property
    def values(self) -> np.ndarray:
        """float64 [Cout, ...]."""
        signs = 2.0 * self.planes - 1.0
        basis = self.basis.reshape(self.basis.shape + (1,) * (signs.ndim - 2))
        return (signs * basis).sum(axis=0)


@dataclass(frozen=True)
class FloatWeights:
    """Full-precision weights."""

    values: np.ndarray
    """float64 [Cout, ...]."""


Weights = QuantizedWeights | FloatWeights


@dataclass(frozen=True, kw_only=True)
class Convolution(Node):
    """2-D convolution; quantized if its weights are."""

    weights: Weights
    """[Cout, Cin, kh, kw]."""
    bias: np.ndarray
    """float64 [Cout]."""
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class Linear(Node):
    """Matrix product; quantized if its weights are."""

    weights: Weights
    """[Cout, Cin]."""
    bias: np.ndarray
    """float64 [Cout]."""


@dataclass(frozen=True, kw_only=True)
class LearnedActivation(Node):
    """Quantizer of an activation tensor, learned or uniform."""

    basis: np.ndarray
    """float64 [K]; not negative if learned."""
    encoding: Encoding
    inclusive: tuple[bool, ...] = ()
    """Per threshold whether x = t_i takes level i + 1; empty: nowhere."""

    @property
    def planes(self) -> int:
        """Code bits K."""
        return len(self.basis)

    def sorted_levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Ascending levels (float32 [2^K]) and the code of each (int64 [2^K])."""
        levels = (code_table(self.planes, self.encoding) @ self.basis).astype(np.float32)
        order = np.argsort(levels, kind="stable")
        return levels[order], order.astype(np.int64)

    def thresholds(self) -> np.ndarray:
        """Midpoints of adjacent levels (float32 [2^K - 1]); x takes level i + 1 if x > t_i.

        Where ``inclusive[i]``, it does so if x >= t_i.
        """
        levels = self.sorted_levels()[0]
        return (levels[1:] + levels[:-1]) / np.float32(2)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Node):
    """``x * scale + offset`` per channel: batch normalisation with its statistics folded."""

    scale: np.ndarray
    """float64 [channels]."""
    offset: np.ndarray
    """float64 [channels]."""


@dataclass(frozen=True, kw_only=True)
class Relu(Node):
    """max(x, 0)."""


@dataclass(frozen=True, kw_only=True)
class MaxPool(Node):
    """Maximum over a window; padding never wins."""

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class AveragePool(Node):
    """Mean over a window, without padding."""

    window: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(Node):
    """Mean over the image: [channels, 1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """Sum of two tensors of the same shape."""


@dataclass(frozen=True, kw_only=True)
class ChannelPad(Node):
    """Zero channels before and after."""

    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Concatenation along the channels."""


@dataclass(frozen=True, kw_only=True)
class Flatten(Node):
    """[channels, height, width] to [features] in that order."""


@dataclass(frozen=True, kw_only=True)
class FixedPoint(Node):
    """``floor(x * 2**fraction + 1/2)`` limited to ``bits`` signed bits, over ``2**fraction``.

    What a stored number becomes (:func:`golden.fixed_point.round_shift` and ``saturate``).
    """

    fraction: int
    bits: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network: nodes in execution order, the first is the :class:`Image`."""

    name: str
    nodes: tuple[Node, ...]
    output: str
    """Tensor with the logits."""
    labels: tuple[str, ...] = ()
    ranges: dict[str, float] = field(default_factory=dict)
    """Largest |x| seen on calibration images, per tensor."""
    weight_bits: int | None = None
    """As stated by the file, for reports."""
    activation_bits: int | None = None

    def node(self, name: str) -> Node:
        """The node that writes the tensor ``name``."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def image(self) -> Image:
        """The first node."""
        first = self.nodes[0]
        assert isinstance(first, Image)
        return first

    def consumers(self) -> dict[str, list[Node]]:
        """For every tensor the nodes that read it, in execution order."""
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return readers
