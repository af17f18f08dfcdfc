"""Float network against integer network: accuracy, and the share of activations that differ.

The float network is the exported file run by onnxruntime, the integer network its lowering run by
:mod:`golden.integer_reference`. What differs is the only approximation on the way to the
hardware; nothing does for a file of exact numbers (:mod:`golden.exact_parameters`). An activation
differs if its level does; two codes of equal level are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime
from rich.table import Table

from golden.calibration import model_session
from golden.graph import Graph, LearnedActivation
from golden.graph_builder import INPUT
from golden.integer_network import CodeOutput, IntegerNetwork, RawOutput
from golden.integer_reference import IntegerReference
from golden.lowering import lower
from golden.onnx_import import import_bytes

__all__ = ["ActivationDifference", "Evaluation", "evaluate", "evaluation_table"]

Progress = Callable[[int, int], None]
"""Called with the images done so far and in all."""


@dataclass(frozen=True)
class ActivationDifference:
    """One activation tensor."""

    tensor: str
    differing: float
    """Share of elements, 0..1."""


@dataclass(frozen=True)
class Evaluation:
    """Result over a data set; shares and accuracies are in 0..1."""

    images: int
    float_accuracy: float
    integer_accuracy: float
    agreement: float
    """Share of images to which both networks give the same class."""
    largest_logit_difference: float
    activations: tuple[ActivationDifference, ...]
    """In the order of execution."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a report file."""
        return asdict(self)


def evaluate(
    content: bytes,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    network: IntegerNetwork | None = None,
    batch: int = 20,
    progress: Progress | None = None,
) -> Evaluation:
    """Run both networks over a data set.

    Args:
        content: The exported file; no QONNX, which onnxruntime does not run.
        images: uint8 [N, height, width, channels].
        labels: Class per image, [N].
        network: The integer network; None lowers the file with the defaults.
        batch: Images at a time.
        progress: Told after each batch.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(
            f"images and labels must be equally many, not {len(images)} and {len(labels)}"
        )
    graph = import_bytes(content)
    network = network or lower(graph)
    comparison = _Comparison(graph, network, content)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        comparison.add(images[part], labels[part])
        if progress is not None:
            progress(min(start + batch, len(images)), len(images))
    return comparison.result()


class _Comparison:
    """Counts over the images so far."""

    def __init__(self, graph: Graph, network: IntegerNetwork, content: bytes) -> None:
        self._graph = graph
        self._reference = IntegerReference(network)
        # Codes before pooling are not in the file.
        known = {node.name for node in graph.nodes}
        self._codes = [output for output in _code_outputs(network) if output.tensor in known]
        self._logits = _raw_output(network)
        self._names = [graph.output, *(output.tensor for output in self._codes)]
        self._session: onnxruntime.InferenceSession = model_session(content, self._names)
        self._levels = {output.tensor: _level_of_code(graph, output) for output in self._codes}
        self._images = 0
        self._float_hits = 0
        self._integer_hits = 0
        self._agreements = 0
        self._largest = 0.0
        self._different = dict.fromkeys(self._names[1:], 0)
        self._elements = dict.fromkeys(self._names[1:], 0)

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Run one batch."""
        values = self._session.run(self._names, {INPUT: images})
        floats = dict(zip(self._names, (np.asarray(value) for value in values), strict=True))
        integers = self._reference.run(images, keep=[*self._names[1:], self._logits.tensor])
        scores = floats[self._graph.output].reshape(len(images), -1)
        raw = integers[self._logits.tensor].transpose(0, 3, 1, 2).reshape(len(images), -1)
        self._images += len(images)
        self._float_hits += int((scores.argmax(axis=1) == labels).sum())
        self._integer_hits += int((raw.argmax(axis=1) == labels).sum())
        self._agreements += int((raw.argmax(axis=1) == scores.argmax(axis=1)).sum())
        difference = np.abs(np.ldexp(raw.astype(np.float64), -self._logits.fraction) - scores)
        self._largest = max(self._largest, float(difference.max()))
        for name, levels in self._levels.items():
            stored = levels[integers[name]].transpose(0, 3, 1, 2)
            expected = floats[name].reshape(stored.shape)
            self._different[name] += int((stored != expected).sum())
            self._elements[name] += stored.size

    def result(self) -> Evaluation:
        """Shares over all images."""
        return Evaluation(
            images=self._images,
            float_accuracy=self._float_hits / self._images,
            integer_accuracy=self._integer_hits / self._images,
            agreement=self._agreements / self._images,
            largest_logit_difference=self._largest,
            activations=tuple(
                ActivationDifference(name, count / self._elements[name])
                for name, count in self._different.items()
            ),
        )


def evaluation_table(evaluation: Evaluation) -> Table:
    """The result as a table for the terminal."""
    table = Table(
        "quantity", "value", title=f"float and integer network, {evaluation.images} images"
    )
    table.columns[1].justify = "right"
    table.add_row("accuracy, float", f"{evaluation.float_accuracy:.2%}")
    table.add_row("accuracy, integer", f"{evaluation.integer_accuracy:.2%}")
    table.add_row("same class", f"{evaluation.agreement:.2%}")
    table.add_row("largest logit difference", f"{evaluation.largest_logit_difference:.4f}")
    table.add_section()
    for activation in evaluation.activations:
        table.add_row(f"differs: {activation.tensor}", f"{activation.differing:.4%}")
    return table


def _code_outputs(network: IntegerNetwork) -> Iterator[CodeOutput]:
    for layer in network.layers:
        if isinstance(layer.outputs, CodeOutput):
            yield layer.outputs


def _raw_output(network: IntegerNetwork) -> RawOutput:
    for layer in network.layers:
        if isinstance(layer.outputs, RawOutput):
            return layer.outputs
    raise ValueError("a layer of the network must write logits, but none does")


def _level_of_code(graph: Graph, output: CodeOutput) -> np.ndarray:
    """Level (float32) by stored code; codes that never occur are NaN."""
    node = graph.node(output.tensor)
    if not isinstance(node, LearnedActivation):
        raise ValueError(f"tensor {output.tensor!r} must be a learned activation of the graph")
    levels = np.full(1 << output.planes, np.nan, dtype=np.float32)
    levels[output.codes] = node.sorted_levels()[0]
    return levels
