"""Calibration of a changed network against the one that it came from.

With other weights the sums of a layer have another mean and variance. The batch normalisation that
follows is given the scale and offset with which each channel's mean and variance over sample
images are again what they were in the original network. Layers are corrected in the order of
execution, in one run over the images, so that each one sees what the corrected layers before it
yield. The largest magnitudes of all tensors are measured on the way: lowering chooses fixed-point
formats by them.

Activation quantizers can be fitted to the images, too (QEM: codes from the basis, then the basis
from the codes, until it stays).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from golden.basis_fit import fit_activation_bases
from golden.calibration import round_up
from golden.graph import BatchNorm, Graph, Image, LearnedActivation, Node, code_table
from golden.graph_execution import run_nodes
from golden.lowering_formats import without_fixed_points

__all__ = ["Moments", "ReplaceActivation", "fit_activation", "measure_moments", "recalibrated"]

QEM_STEPS = 10
"""Most alternations of an activation's codes and basis."""

FITTED_VALUES = 1 << 17
"""Values that a basis is fitted to, at even distances; about so many are enough for K numbers."""


ReplaceActivation = Callable[[LearnedActivation, Tensor], LearnedActivation]
"""Called with a quantizer and its input."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel, float64 [channels]."""

    mean: np.ndarray
    variance: np.ndarray


def measure_moments(graph: Graph, images: np.ndarray) -> dict[str, Moments]:
    """Moments of the outputs of all batch normalisations over images uint8 [N, h, w, channels]."""
    return {
        node.name: _moments(output)
        for node, output in run_nodes(graph, images)
        if isinstance(node, BatchNorm)
    }


def recalibrated(
    graph: Graph,
    images: np.ndarray,
    moments: dict[str, Moments],
    *,
    activation: ReplaceActivation | None = None,
) -> Graph:
    """``graph`` with batch normalisations that give ``moments``, and with measured ranges.

    Args:
        graph: The changed network.
        images: uint8 [N, height, width, channels], all in one batch.
        moments: Of the original network (:func:`measure_moments`), over the same images.
        activation: What becomes of a learned activation; None leaves all as they are.
    """

    # Numbers that are no longer those of the file need no longer its formats.
    graph, _ = without_fixed_points(graph)

    def replaced(node: Node, x: Tensor) -> Node:
        if isinstance(node, BatchNorm) and node.name in moments:
            return _with_moments(node, _moments(x), moments[node.name])
        if activation is not None and isinstance(node, LearnedActivation):
            return activation(node, x)
        return node

    nodes: list[Node] = []
    ranges: dict[str, float] = {}
    for node, output in run_nodes(graph, images, replace=replaced):
        nodes.append(node)
        if not isinstance(node, Image | LearnedActivation):
            largest = float(output.abs().max())
            if not math.isfinite(largest):
                raise ValueError(f"values of tensor {node.name!r} must be finite, not {largest}")
            ranges[node.name] = round_up(largest)
    return replace(graph, nodes=tuple(nodes), ranges=ranges)


def fit_activation(node: LearnedActivation, x: Tensor, steps: int = QEM_STEPS) -> LearnedActivation:
    """The quantizer after at most ``steps`` of QEM on the values of ``x``, from its own basis.

    Where some plane is not used, or the fit is negative, which no file may have, the last good
    basis stays; so does a quantizer with ties of its own (of QONNX).
    """
    if node.inclusive:
        return node
    table = torch.from_numpy(code_table(node.planes, node.encoding))
    values = x.detach().flatten()
    # An odd step meets all columns, rows and channels of images, whose sizes are even mostly.
    values = values[:: (len(values) // FITTED_VALUES) | 1].contiguous()
    for _ in range(steps):
        thresholds = torch.from_numpy(node.thresholds()).to(values.dtype)
        level = torch.bucketize(values, thresholds, right=False)
        counts = torch.bincount(level, minlength=len(table)).double()
        sums = torch.bincount(level, values.double(), len(table))
        codes = table[torch.from_numpy(node.sorted_levels()[1])]
        stored = torch.from_numpy(node.basis)
        bases, fitted = fit_activation_bases(codes[None], counts[None], sums[None], stored[None])
        basis = bases[0].numpy()
        if not bool(fitted[0]) or basis.min() < 0 or np.allclose(basis, node.basis, rtol=1e-6):
            break
        node = replace(node, basis=basis)
    return node


def _moments(x: Tensor) -> Moments:
    axes = (0, *range(2, x.ndim))
    values = x.double()
    mean = values.mean(dim=axes)
    shape = (-1, *(1,) * (x.ndim - 2))
    variance = (values - mean.reshape(shape)).square().mean(dim=axes)
    return Moments(mean.numpy(), variance.numpy())


def _with_moments(node: BatchNorm, source: Moments, target: Moments) -> BatchNorm:
    """The node with which inputs of moments ``source`` have outputs of moments ``target``.

    Channels that are constant before or after keep their scale.
    """
    usable = (source.variance > 0) & (target.variance > 0)
    ratio = np.sqrt(
        np.divide(target.variance, source.variance, where=usable, out=np.ones_like(source.mean))
    )
    scale = np.where(usable, np.copysign(ratio, node.scale), node.scale)
    return replace(node, scale=scale, offset=target.mean - source.mean * scale)
