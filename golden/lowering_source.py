"""Plane tensors as their readers see them: planes, and the value of each plane's ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from golden import graph as ir
from golden.graph import Encoding, ModelError
from golden.integer_network import Arithmetic
from golden.lowering_plan import Plan, Spatial

__all__ = ["IMAGE_FRACTION", "PlaneSource", "SourcePart", "SourceTable", "twos_complement_basis"]

IMAGE_PLANES = 8
IMAGE_FRACTION = 7
"""Pixels enter as (p - 128) / 128."""


def twos_complement_basis(bits: int, fraction: int) -> np.ndarray:
    """Value of a one in each plane of a fixed-point number: float64 [bits]."""
    basis = np.ldexp(1.0, np.arange(bits) - fraction)
    basis[-1] = -basis[-1]
    return basis


@dataclass(frozen=True)
class SourcePart:
    """Channels [first, last) of a plane tensor that share one basis."""

    first: int
    last: int
    planes: int
    codes: ir.LearnedActivation | None
    """None for a fixed-point tensor."""
    fixed: str | None
    """Name of the fixed-point tensor; None for codes and for the image."""

    def basis(self, fixed_fractions: Mapping[str, int]) -> np.ndarray:
        """float64 [planes]: value of a one in each stored plane.

        A {-1,+1} code of K planes is ``sum 2 v_j b_j - sum v_j``: the last plane is one
        everywhere inside the image, so that padding stays zero.
        """
        if self.codes is None:
            fraction = IMAGE_FRACTION if self.fixed is None else fixed_fractions[self.fixed]
            return twos_complement_basis(self.planes, fraction)
        basis = self.codes.basis
        if self.codes.encoding is Encoding.SIGNED:
            basis = np.append(2 * basis, -basis.sum())
        return np.concatenate([basis, np.zeros(self.planes - len(basis))])

    def largest(self, worst: Mapping[str, float]) -> float:
        """Largest |value|."""
        if self.codes is not None:
            return float(np.abs(self.codes.sorted_levels()[0]).max())
        return 1.0 if self.fixed is None else worst[self.fixed]


@dataclass(frozen=True)
class PlaneSource:
    """A plane tensor."""

    tensor: str
    """Its name in the integer network."""
    planes: int
    parts: tuple[SourcePart, ...]
    label: str
    """For reports."""


class SourceTable:
    """All plane tensors of a plan, by the name of the graph tensor."""

    def __init__(self, plan: Plan, fixed_point_bits: int, arithmetic: Arithmetic) -> None:
        self._nodes = {node.name: node for node in plan.graph.nodes}
        self._wide = plan.wide
        self._bits = fixed_point_bits
        self._arithmetic = arithmetic
        channels, height, width = plan.graph.image.shape
        self.image_shape: Spatial = height, width, channels
        self._planes: dict[str, int] = {}
        self._sources: dict[str, PlaneSource] = {}
        self._spread_planes(plan.concats)
        self._concats = plan.concats

    def __getitem__(self, tensor: str) -> PlaneSource:
        """The plane form of a graph tensor: codes, concat, image, or fixed point."""
        if tensor not in self._sources:
            self._sources[tensor] = self._source(tensor)
        return self._sources[tensor]

    def stored_name(self, tensor: str) -> str:
        """Name of the plane tensor in the integer network."""
        node = self._nodes.get(tensor)
        stored = isinstance(node, ir.LearnedActivation | ir.Image | ir.Concat)
        return tensor if stored else f"{tensor}.fixed"

    def _source(self, tensor: str) -> PlaneSource:
        node = self._nodes[tensor]
        if not isinstance(node, ir.Concat):
            parts = (self._part(tensor, 0),)
        else:
            built: list[SourcePart] = []
            for name in self._concats[tensor]:
                built.append(self._part(name, built[-1].last if built else 0))
            parts = tuple(built)
        planes = parts[0].planes
        labels = dict.fromkeys(
            f"A{len(part.codes.basis) if part.codes is not None else part.planes}" for part in parts
        )
        return PlaneSource(self.stored_name(tensor), planes, parts, "/".join(labels))

    def _part(self, tensor: str, first: int) -> SourcePart:
        node = self._nodes[tensor]
        last = first + node.shape[0]
        if len(node.shape) == 1:
            last = first + self._channels(node)
        codes = node if isinstance(node, ir.LearnedActivation) else None
        fixed = None if isinstance(node, ir.LearnedActivation | ir.Image) else f"{tensor}.fixed"
        return SourcePart(first, last, self._plane_count(tensor), codes, fixed)

    def _channels(self, node: ir.Node) -> int:
        """Channels of a vector, before it was flattened."""
        while isinstance(node, ir.Flatten | ir.LearnedActivation | ir.Relu):
            node = self._nodes[node.inputs[0]]
        return node.shape[0]

    def _plane_count(self, tensor: str) -> int:
        if tensor in self._planes:
            return self._planes[tensor]
        node = self._nodes[tensor]
        if isinstance(node, ir.Image):
            return IMAGE_PLANES
        if isinstance(node, ir.LearnedActivation):
            return node.planes + (node.encoding is Encoding.SIGNED)
        return self._arithmetic.planes_maximum if tensor in self._wide else self._bits

    def _spread_planes(self, concats: Mapping[str, tuple[str, ...]]) -> None:
        """All parts of a concatenation get the planes of the widest."""
        changed = True
        while changed:
            changed = False
            for name, parts in concats.items():
                if any(isinstance(self._nodes[part], ir.Image) for part in parts):
                    raise ModelError(
                        f"node {name!r}: inputs must be outputs of layers, not the image"
                    )
                planes = max(self._plane_count(part) for part in parts)
                for part in parts:
                    changed = changed or self._plane_count(part) != planes
                    self._planes[part] = planes
