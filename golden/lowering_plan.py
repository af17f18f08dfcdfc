"""Fused layers with float parameters: the step between the float graph and the integer network.

:mod:`golden.lowering_match` finds them, :mod:`golden.lowering_scale` chooses their fixed-point
formats, :mod:`golden.lowering` rounds them to integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden.graph import Graph, LearnedActivation, Padding, Weights
from golden.integer_network import PoolKind
from golden.lowering_formats import Demand

__all__ = [
    "AffinePlan",
    "BranchPlan",
    "CodeTarget",
    "ConvolutionPlan",
    "FixedTarget",
    "LayerPlan",
    "Plan",
    "PoolPlan",
    "RawTarget",
    "ResidualPlan",
    "Spatial",
    "StreamPlan",
    "Target",
]

Spatial = tuple[int, int, int]
"""Height, width, channels."""


@dataclass(frozen=True)
class CodeTarget:
    """Write learned codes."""

    tensor: str
    node: LearnedActivation


@dataclass(frozen=True)
class FixedTarget:
    """Write a fixed-point plane tensor of the float tensor ``value``."""

    tensor: str
    value: str
    """Name of the float tensor in the graph, whose range decides the format."""


@dataclass(frozen=True)
class RawTarget:
    """Write the logits."""

    tensor: str


Target = CodeTarget | FixedTarget | RawTarget


@dataclass(frozen=True)
class AffinePlan:
    """``x * gain + offset`` per channel (float64 [channels])."""

    gain: np.ndarray
    offset: np.ndarray

    @staticmethod
    def identity(channels: int) -> AffinePlan:
        """The map that changes nothing."""
        return AffinePlan(np.ones(channels), np.zeros(channels))

    def then(self, gain: np.ndarray, offset: np.ndarray) -> AffinePlan:
        """This map followed by another one."""
        return AffinePlan(self.gain * gain, self.offset * gain + offset)


@dataclass(frozen=True)
class PoolPlan:
    """A pool; ``minimum`` (bool [channels]) where the folded batch-norm scale is negative."""

    kind: PoolKind
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    minimum: np.ndarray

    @property
    def fusible(self) -> bool:
        """Whether a convolution can fuse it: windows neither overlap nor leave the image."""
        return self.window == self.stride and not any(self.padding)

    @property
    def summands(self) -> int:
        """Values that the pool adds up: 1 for a maximum."""
        return self.window[0] * self.window[1] if self.kind is PoolKind.SUM else 1


@dataclass(frozen=True)
class BranchPlan:
    """From a stored or passing value to an output: [ReLU] affine, ReLU, pool, output.

    The division by the pool's number of summands is part of the affine map.
    """

    relu_first: bool
    """ReLU before the affine map."""
    affine: AffinePlan | None
    relu: bool
    relu_in_codes: bool
    """ReLU between a mean and codes: thresholds below zero are passed by every value."""
    pool: PoolPlan | None
    target: Target
    shape: Spatial
    """Of the output."""
    steps: tuple[str, ...]
    """Nodes between the value and the target, in order."""

    @property
    def summands(self) -> int:
        """Values that the pool adds up."""
        return 1 if self.pool is None else self.pool.summands

    @property
    def first(self) -> str:
        """The node that reads the value; empty where that is none of the branch."""
        if self.steps:
            return self.steps[0]
        return self.target.tensor if isinstance(self.target, CodeTarget) else ""


@dataclass(frozen=True)
class ResidualPlan:
    """Stream that is added to the accumulator."""

    tensor: str
    window: int
    channel_map: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ConvolutionPlan:
    """A convolution with everything that one layer of the integer network fuses."""

    name: str
    source: str
    """Graph tensor that is read: of a learned activation, a concat, a float tensor or the image."""
    input_shape: Spatial
    convolution_shape: Spatial
    weights: Weights
    """[Cout, Cin, kh, kw]."""
    stride: tuple[int, int]
    padding: Padding
    scale: np.ndarray
    """float64 [Cout]: factor on the weights."""
    offset: np.ndarray
    """float64 [Cout]: added after that."""
    residual: ResidualPlan | None
    relu_stream: bool
    end: str
    """Graph tensor that the (possible) stream holds."""
    store: bool
    """Whether the stream is stored."""
    branch: BranchPlan | None

    @property
    def rounds(self) -> bool:
        """Whether the value passes through the stream format on its way."""
        return self.store or (self.branch is not None and self.branch.affine is not None)


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """A further branch from a stored stream."""

    name: str
    source: str
    input_shape: Spatial
    branch: BranchPlan


LayerPlan = ConvolutionPlan | StreamPlan


@dataclass(frozen=True)
class Plan:
    """Layers in execution order, and the concatenations that they read."""

    graph: Graph
    """The graph that the names refer to: rewritten where the given one had to be."""
    layers: tuple[LayerPlan, ...]
    concats: dict[str, tuple[str, ...]]
    """Per concat tensor the plane tensors (graph names) it consists of, nested ones resolved."""
    wide: frozenset[str]
    """Float tensors whose fixed-point form needs the most planes that there are."""
    demands: Mapping[str, Demand]
    """Formats that the file demands, by tensor."""
