"""Brings the operators between a value and its output into the one order that layers have.

A layer applies [ReLU,] affine map, ReLU, pool. Networks also pool first: a maximum commutes with
a batch-norm, as minimum where the scale is negative, and with ReLU; a mean commutes with a
batch-norm, and its division becomes part of the affine map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from golden import graph as ir
from golden.graph import ModelError, Node, Padding
from golden.integer_network import PoolKind
from golden.lowering_plan import AffinePlan, BranchPlan, CodeTarget, PoolPlan, Spatial, Target

__all__ = ["fold_branch"]


def fold_branch(
    steps: Sequence[Node], target: Target, start: Spatial, spatial: Mapping[str, Spatial]
) -> BranchPlan:
    """The branch that computes ``steps`` (batch-norm, ReLU, pools, in the graph's order).

    Args:
        steps: Nodes from the value to the output.
        target: The output.
        start: Shape of the value.
        spatial: Shapes of all tensors.
    """
    folder = _Folder(start)
    for index, step in enumerate(steps):
        if isinstance(step, ir.BatchNorm):
            folder.batch_norm(step)
        elif isinstance(step, ir.Relu):
            last = index == len(steps) - 1
            folder.relu(coded=last and isinstance(target, CodeTarget))
        elif isinstance(step, ir.MaxPool | ir.AveragePool | ir.GlobalAveragePool):
            folder.add_pool(step, spatial[step.inputs[0]])
        else:
            raise ModelError(
                f"node {step.name!r}: operator between a layer and an activation must be one of "
                f"BatchNorm, Relu, MaxPool, AveragePool, not {type(step).__name__}"
            )
    shape = spatial[steps[-1].name] if steps else start
    return folder.branch(target, shape, tuple(step.name for step in steps))


class _Folder:
    """State of the branch so far."""

    def __init__(self, start: Spatial) -> None:
        self._channels = start[2]
        self._relu_first = False
        self._affine: AffinePlan | None = None
        self._relu = False
        self._relu_in_codes = False
        self._pool: PoolPlan | None = None
        self._after_pool = np.ones(self._channels)

    def batch_norm(self, node: ir.BatchNorm) -> None:
        if len(node.scale) != self._channels:
            raise ModelError(
                f"node {node.name!r}: batch-norm after flattening must be of a 1 x 1 image, "
                f"not of {len(node.scale)} features from {self._channels} channels"
            )
        if self._relu:
            if self._affine is not None or self._relu_first:
                raise ModelError(
                    f"node {node.name!r}: a branch must have one batch-norm after ReLU at most, "
                    "not batch-norm, ReLU and batch-norm again"
                )
            self._relu_first, self._relu = True, False
        affine = self._affine or AffinePlan.identity(self._channels)
        self._affine = affine.then(node.scale, node.offset)
        if self._pool is not None:
            self._after_pool = self._after_pool * node.scale

    def relu(self, coded: bool) -> None:
        if self._pool is not None and self._pool.kind is PoolKind.SUM:
            # Elsewhere an identity convolution stands between the mean and ReLU.
            assert coded
            self._relu_in_codes = True
        else:
            self._relu = True

    def add_pool(self, node: Node, shape: Spatial) -> None:
        assert self._pool is None
        kind, padding = PoolKind.SUM, (0, 0, 0, 0)
        if isinstance(node, ir.MaxPool):
            kind, window, stride = PoolKind.MAXIMUM, node.window, node.stride
            padding = node.padding
        elif isinstance(node, ir.AveragePool):
            window, stride = node.window, node.stride
        else:
            window = stride = shape[0], shape[1]
        self._pool = _trimmed(kind, window, stride, padding, shape, self._channels)

    def branch(self, target: Target, shape: Spatial, steps: tuple[str, ...]) -> BranchPlan:
        pool = self._pool
        affine = self._affine
        if pool is not None:
            minimum = (self._after_pool < 0) & (pool.kind is PoolKind.MAXIMUM)
            pool = PoolPlan(pool.kind, pool.window, pool.stride, pool.padding, minimum)
            if pool.summands > 1:
                affine = affine or AffinePlan.identity(self._channels)
                affine = AffinePlan(affine.gain / pool.summands, affine.offset / pool.summands)
        return BranchPlan(
            relu_first=self._relu_first,
            affine=affine,
            relu=self._relu,
            relu_in_codes=self._relu_in_codes,
            pool=pool,
            target=target,
            shape=shape,
            steps=steps,
        )


def _trimmed(
    kind: PoolKind,
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    shape: Spatial,
    channels: int,
) -> PoolPlan:
    """The pool; padding after the image that no window reaches is left out."""
    top, left, bottom, right = padding
    before = (top, left)
    after = []
    for size, first, last, width, step in zip(
        shape[:2], before, (bottom, right), window, stride, strict=True
    ):
        count = (size + first + last - width) // step + 1
        after.append(max((count - 1) * step + width - first - size, 0))
    return PoolPlan(
        kind,
        window,
        stride,
        (top, left, after[0], after[1]),
        np.zeros(channels, dtype=bool),
    )
