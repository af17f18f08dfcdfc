"""Early exit of the last layer, with a certificate that the class is that of the full run.

The last layer's score of class c is a sum over groups of plane pairs that share a coefficient, the
passes of the array (:func:`compiler.passes.equal_pairs`). In the order of what they can contribute
at most, largest first, the sum may stop as soon as what is left cannot change the class: with
``S`` the partial scores and ``t`` their class, if for every other class ``c``

    S[t] - S[c] + B[t, c] > 0      (or = 0 where t < c: the first of equal scores wins)

``B[t, c]`` is the least that the groups left can add to ``score[t] - score[c]``, whatever the
input: each bit of each input, zero or one, adds an integer to the difference, so the least sum is
that of the negative ones. It is reached by some input: without knowledge of the input there is no
better bound. One fact about the input is used: a fixed-point input behind a ReLU has no sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from golden.integer_network import (
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    Layer,
    RawOutput,
)

from .passes import equal_pairs
from .program import ProgramError

__all__ = ["ExitPlan", "Group", "certified", "exit_plan", "part_of"]

LARGEST_TABLE = 1 << 28
"""Terms of all bounds together: beyond that they take minutes."""


@dataclass(frozen=True)
class Group:
    """Plane pairs of one input range whose coefficients are equal, but for the sign."""

    span: int
    """Index of the range."""
    pairs: tuple[tuple[int, int], ...]
    """Weight plane and activation plane."""


@dataclass(frozen=True)
class ExitPlan:
    """Groups in their order, and what is known after each of them."""

    layer: ConvolutionLayer
    groups: tuple[Group, ...]
    bounds: np.ndarray
    """int64 [groups, classes, classes]: ``B`` after the first, second, ... group."""

    def scores(self, codes: np.ndarray, groups: int) -> np.ndarray:
        """Partial scores int64 [N, classes], with the bias, after ``groups`` groups.

        Args:
            codes: The layer's input as stored, int64 [N, height, width, channels].
            groups: How many.
        """
        terms = _terms(self.layer, self.groups[:groups])
        planes = terms.shape[1]
        bits = (codes.reshape(len(codes), 1, -1) >> np.arange(planes)[:, None]) & 1
        flat = terms.reshape(len(terms), -1)
        return bits.reshape(len(codes), -1) @ flat.T + self.layer.bias


def exit_plan(network: IntegerNetwork) -> ExitPlan:
    """Order and bounds of the last layer of ``network``.

    Raises:
        ProgramError: The last layer is not a fully connected one that ends in scores, or has too
            many classes and inputs.
    """
    layer = network.layers[-1]
    if (
        not isinstance(layer, ConvolutionLayer)
        or not isinstance(layer.outputs, RawOutput)
        or layer.convolution_shape[:2] != (1, 1)
        or layer.residual is not None
        or layer.affine is not None
        or any(layer.padding)
        or layer.relu
        or layer.relu_stream
    ):
        raise ProgramError(
            f"layer {layer.name} must be fully connected and end in scores to stop early"
        )
    classes = layer.convolution_shape[2]
    inputs = int(np.prod(layer.input_shape)) * layer.coefficients.shape[3]
    if classes * classes * inputs > LARGEST_TABLE:
        raise ProgramError(
            f"layer {layer.name}: classes x classes x input bits must be at most {LARGEST_TABLE} "
            f"to bound all differences, not {classes * classes * inputs}"
        )
    unsigned = _without_sign(network, layer.source)
    groups = [
        Group(span, tuple((pair.weight, pair.source) for pair in members))
        for span, coefficients in enumerate(layer.coefficients)
        for members in equal_pairs(coefficients)
    ]
    sizes = {group: _largest(layer, group, unsigned) for group in groups}
    ordered = tuple(sorted(groups, key=lambda group: -sizes[group]))
    bounds = [
        _least_differences(_known(_terms(layer, ordered[done:]), unsigned))
        for done in range(1, len(ordered) + 1)
    ]
    return ExitPlan(layer, ordered, np.array(bounds).reshape(-1, classes, classes))


def certified(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """bool [N]: whether the class of partial scores is that of the full ones, whatever is left.

    Args:
        scores: int64 [N, classes].
        bounds: int64 [classes, classes], one entry of :attr:`ExitPlan.bounds`.
    """
    images, classes = np.arange(len(scores)), np.arange(scores.shape[1])
    top = scores.argmax(axis=1)
    least = scores[images, top][:, None] - scores + bounds[top]
    safe = (least > 0) | ((least == 0) & (top[:, None] < classes))
    safe[images, top] = True
    return safe.all(axis=1)


def part_of(
    network: IntegerNetwork, groups: tuple[Group, ...], *, bias: bool = True
) -> IntegerNetwork:
    """``network`` whose last layer adds up these groups only, with its bias or without."""
    layer = network.layers[-1]
    assert isinstance(layer, ConvolutionLayer)
    coefficients = np.zeros_like(layer.coefficients)
    for group in groups:
        for pair in group.pairs:
            coefficients[(group.span, slice(None), *pair)] = layer.coefficients[
                (group.span, slice(None), *pair)
            ]
    part = replace(
        layer, coefficients=coefficients, bias=layer.bias if bias else np.zeros_like(layer.bias)
    )
    return replace(network, layers=(*network.layers[:-1], part))


def _terms(layer: ConvolutionLayer, groups: tuple[Group, ...]) -> np.ndarray:
    """int64 [classes, activation planes, inputs]: what each bit of the input adds to a score."""
    signs = 2 * layer.weight_planes.astype(np.int64) - 1  # [planes, classes, height, width, in]
    classes = signs.shape[1]
    terms = np.zeros((layer.coefficients.shape[3], *signs.shape[1:]), np.int64)
    for group in groups:
        first, last = layer.ranges[group.span]
        for weight, source in group.pairs:
            factors = layer.coefficients[group.span, :, weight, source].reshape(-1, 1, 1, 1)
            terms[source, ..., first:last] += factors * signs[weight, ..., first:last]
    return terms.reshape(len(terms), classes, -1).transpose(1, 0, 2)


def _known(terms: np.ndarray, unsigned: bool) -> np.ndarray:
    """The terms of bits that may be one."""
    return terms[:, :-1] if unsigned else terms


def _largest(layer: ConvolutionLayer, group: Group, unsigned: bool) -> int:
    """The most that a group can change a score."""
    terms = _known(_terms(layer, (group,)), unsigned)
    above, below = (np.maximum(sign * terms, 0).sum(axis=(1, 2)) for sign in (1, -1))
    return int(max(above.max(), below.max()))


def _least_differences(terms: np.ndarray) -> np.ndarray:
    """int64 [classes, classes]: the least of ``sum(terms[t]) - sum(terms[c])`` over all inputs."""
    return np.stack([np.minimum(own - terms, 0).sum(axis=(1, 2)) for own in terms])


def _without_sign(network: IntegerNetwork, tensor: str) -> bool:
    """Whether a stored tensor is of signed numbers none of which is negative."""

    def writes(layer: Layer) -> bool:
        return layer.outputs is not None and layer.outputs.tensor == tensor

    writer = next((layer for layer in network.layers if writes(layer)), None)
    if writer is None or not isinstance(writer.outputs, FixedPointOutput):
        return False
    return writer.relu or (writer.relu_stream and writer.affine is None)
