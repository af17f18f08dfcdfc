"""Post-training quantization, layer by layer: other numbers of planes for a given network.

The network is in float, or quantized already; then its weights in all planes stand for the float
ones. Every weight tensor and every activation tensor that is quantized is a *site* with a number of
planes of its own. Weights get the codes and bases of QEM (quantization error minimisation, Zhang
et al., ECCV 2018) on their values, activations those of QEM on sample images, and the batch
normalisations are corrected on the same images (:mod:`golden.recalibration`). A site with the
planes that it has already is left as it is. The first and the last layer of a float network stay
in full precision, as in LQ-Nets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from golden.basis_fit import fit_weight_bases
from golden.graph import (
    Concat,
    Convolution,
    Encoding,
    Graph,
    LearnedActivation,
    Linear,
    MaxPool,
    ModelError,
    Node,
    QuantizedWeights,
    Relu,
    code_table,
)
from golden.graph_execution import quantized, run_nodes
from golden.graph_export import graph_bytes
from golden.lowering_formats import without_fixed_points
from golden.onnx_import import import_bytes
from golden.quantizers import NORMAL_UPPER_QUARTILE, ActivationQuantizer
from golden.recalibration import Moments, fit_activation, measure_moments, recalibrated

__all__ = ["PostTraining", "fit_weights"]

QEM_STEPS = 30
FLOAT_PLANES = 8
"""Planes that stand for a float site: nothing is quantized to more."""
CODES = ".codes"
"""Ending of the names of activation sites in a float network."""


def fit_weights(values: np.ndarray, planes: int, steps: int = QEM_STEPS) -> QuantizedWeights:
    """Weights [Cout, ...] in ``planes`` planes: QEM per channel, from the start for N(0, s)."""
    rows = torch.from_numpy(np.asarray(values, np.float64)).flatten(1).contiguous()
    table = torch.from_numpy(code_table(planes, Encoding.SIGNED))
    size = rows.square().mean(dim=1, keepdim=True).sqrt()
    basis = NORMAL_UPPER_QUARTILE * size / 2 ** (planes - 1) * 2.0 ** torch.arange(planes)
    spread = table.expand(len(rows), -1, -1)
    codes = torch.zeros(rows.shape, dtype=torch.int64)
    for _ in range(steps):
        levels, order = torch.sort(basis @ table.T, dim=1, stable=True)
        thresholds = ((levels[:, 1:] + levels[:, :-1]) / 2).contiguous()
        found = order.gather(1, torch.searchsorted(thresholds, rows))
        if torch.equal(found, codes):
            break
        codes = found
        counts = torch.zeros(len(rows), len(table), dtype=torch.float64)
        sums = counts.clone()
        counts.scatter_add_(1, codes, torch.ones_like(rows))
        sums.scatter_add_(1, codes, rows)
        basis, _ = fit_weight_bases(spread, counts, sums, basis)
    bits = (codes.numpy()[None] >> np.arange(planes)[:, None, None]) & 1
    return QuantizedWeights(
        bits.reshape(planes, *values.shape).astype(bool), basis.numpy().T.copy()
    )


@dataclass
class PostTraining:
    """A network and sample images, ready to be quantized in many ways."""

    graph: Graph
    images: np.ndarray
    """uint8 [N, height, width, channels]."""
    weights: tuple[str, ...] = field(init=False)
    """Weight sites: names of layers."""
    activations: tuple[str, ...] = field(init=False)
    """Activation sites: names of quantizers."""
    own: dict[str, int] = field(init=False)
    """Planes that each site has; ``FLOAT_PLANES`` where it is in float."""
    _moments: dict[str, Moments] = field(init=False)
    _sited: Graph = field(init=False)
    _fitted: dict[tuple[str, int], QuantizedWeights] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise ValueError("calibration images must be at least one, not 0")
        # Other numbers get formats of their own (golden.recalibration).
        self.graph, _ = without_fixed_points(self.graph)
        layers = [n for n in self.graph.nodes if isinstance(n, Convolution | Linear)]
        chosen = [n for n in layers if isinstance(n.weights, QuantizedWeights)] or layers[1:-1]
        if not chosen:
            raise ModelError("model must have a layer between the first and the last one")
        self.weights = tuple(node.name for node in chosen)
        self._sited = self.graph
        if not any(isinstance(node, LearnedActivation) for node in self.graph.nodes):
            self._sited = _with_activations(self.graph, set(self.weights))
        quantizers = [
            node
            for node in self._sited.nodes
            if isinstance(node, LearnedActivation) and not node.inclusive
        ]
        self.activations = tuple(node.name for node in quantizers)
        self.own = {
            node.name: len(node.weights.planes)
            if isinstance(node.weights, QuantizedWeights)
            else FLOAT_PLANES
            for node in chosen
        }
        is_float = self._sited is not self.graph
        self.own |= {node.name: FLOAT_PLANES if is_float else node.planes for node in quantizers}
        self._moments = measure_moments(self.graph, self.images)

    def quantized(self, planes: Mapping[str, int]) -> Graph:
        """The network with these planes per site, all sites named; as its file would say it.

        Raises:
            ValueError: A site is missing.
        """
        missing = [name for name in (*self.weights, *self.activations) if name not in planes]
        if missing:
            raise ValueError(f"planes of site {missing[0]} must be given")
        nodes = tuple(self._with_planes(node, planes) for node in self._sited.nodes)
        changed = replace(self._sited, nodes=nodes, weight_bits=None, activation_bits=None)

        def fitted(node: LearnedActivation, x: Tensor) -> LearnedActivation:
            count = planes.get(node.name)
            return node if count is None else self._activation(node, count, x)

        graph = recalibrated(changed, self.images, self._moments, activation=fitted)
        return import_bytes(graph_bytes(graph))

    def errors(self, planes: Sequence[int]) -> dict[tuple[str, int], float]:
        """Squared error of every site in so many planes, as a share of its squared values.

        Of weights against their values, of activations against what reaches them in the network as
        it is; of the planes that a site has it is the error of its own levels.
        """
        readers: dict[str, list[LearnedActivation]] = {}
        for node in self._sited.nodes:
            if isinstance(node, LearnedActivation) and node.name in self.activations:
                readers.setdefault(node.inputs[0], []).append(node)
        found: dict[tuple[str, int], float] = {}
        for node, output in run_nodes(self.graph, self.images):
            for quantizer in readers.get(node.name, ()):
                for count in planes:
                    fitted = self._activation(quantizer, count, output)
                    lost = (quantized(fitted, output) - output).square().sum()
                    found[quantizer.name, count] = float(lost / output.square().sum())
            if isinstance(node, Convolution | Linear) and node.name in self.weights:
                values = node.weights.values
                for count in planes:
                    changed = self._with_planes(node, {node.name: count})
                    assert isinstance(changed, Convolution | Linear)
                    lost = np.square(changed.weights.values - values).sum()
                    found[node.name, count] = float(lost / np.square(values).sum())
        return found

    def _activation(self, node: LearnedActivation, planes: int, x: Tensor) -> LearnedActivation:
        return node if planes == self._kept(node) else fit_activation(_started(node, planes, x), x)

    def _kept(self, node: LearnedActivation) -> int | None:
        """Planes with which a quantizer stays as it is; None if it is one of a float network."""
        return None if self._sited is not self.graph else node.planes

    def _with_planes(self, node: Node, planes: Mapping[str, int]) -> Node:
        if not isinstance(node, Convolution | Linear) or node.name not in self.own:
            return node
        count = planes[node.name]
        if isinstance(node.weights, QuantizedWeights) and len(node.weights.planes) == count:
            return node
        key = (node.name, count)
        if key not in self._fitted:
            self._fitted[key] = fit_weights(node.weights.values, count)
        return replace(node, weights=self._fitted[key])


def _with_activations(graph: Graph, layers: set[str]) -> Graph:
    """A float graph with a quantizer before each of ``layers`` whose input is never negative.

    The basis is a placeholder until the quantizer is fitted.
    """
    nodes: list[Node] = []
    positive: set[str] = set()
    sites: set[str] = set()
    for node in graph.nodes:
        if isinstance(node, Relu) or (
            isinstance(node, MaxPool | Concat) and set(node.inputs) <= positive
        ):
            positive.add(node.name)
        source = node.inputs[0] if node.inputs else ""
        if node.name not in layers or source not in positive:
            nodes.append(node)
            continue
        name = source + CODES
        if name not in sites:
            sites.add(name)
            shape = graph.node(source).shape
            nodes.append(
                LearnedActivation(
                    name=name,
                    inputs=(source,),
                    shape=shape,
                    basis=np.ones(1),
                    encoding=Encoding.UNSIGNED,
                )
            )
        nodes.append(replace(node, inputs=(name,)))
    return replace(graph, nodes=tuple(nodes))


def _started(node: LearnedActivation, planes: int, x: Tensor) -> LearnedActivation:
    """The quantizer with the basis that a new one of so many planes has, to the scale of ``x``."""
    size = float(x.square().mean().mul(2).sqrt())
    initial = ActivationQuantizer(planes).basis.double().numpy()
    return replace(node, basis=initial * size if size > 0 else initial)
