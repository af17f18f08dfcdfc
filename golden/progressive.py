"""Progressive precision: one model as one network for each prefix of its weight planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from golden.graph import Graph
from golden.graph_export import graph_bytes
from golden.onnx_import import import_bytes
from golden.recalibration import fit_activation, measure_moments, recalibrated
from golden.weight_prefix import prefix_graph, weight_planes

__all__ = ["progressive_graphs"]


def progressive_graphs(
    graph: Graph, images: np.ndarray, *, fit_activations: bool = False
) -> tuple[Graph, ...]:
    """``graph`` in its first 1, 2, ... weight planes, and last in all of them.

    The one in all planes computes what ``graph`` does. The others have fitted bases
    (:mod:`golden.weight_prefix`) and batch normalisations, and activation bases if
    ``fit_activations``, that were calibrated on ``images`` (:mod:`golden.recalibration`). They are
    as their files say: rounded to float32.

    Args:
        graph: As imported from an exported file.
        images: uint8 [N, height, width, channels].

    Raises:
        ModelError: No weights are quantized, or the graph is one of QONNX.
    """
    if len(images) == 0:
        raise ValueError("calibration images must be at least one, not 0")
    most = weight_planes(graph)
    whole = prefix_graph(graph, max(1, most))
    moments = measure_moments(graph, images)
    shorter = (
        recalibrated(
            prefix_graph(graph, planes),
            images,
            moments,
            activation=fit_activation if fit_activations else None,
        )
        for planes in range(1, most)
    )
    return (
        *(import_bytes(graph_bytes(short)) for short in shorter),
        replace(whole, weight_bits=graph.weight_bits),
    )
