"""An exported model whose full-precision weights get fewer planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from golden.example_model import example_images
from golden.float_weights import fewest_planes
from golden.graph import Convolution, FloatWeights, Graph, Linear
from golden.graph_export import graph_bytes
from golden.integer_network import ConvolutionLayer
from golden.lowering import lower
from golden.model_rounding import with_rounded_weights
from golden.onnx_import import import_bytes
from golden.recalibration import measure_moments
from host.cli import cli
from tests.golden.small_networks import exported


def full_precision(graph: Graph) -> dict[str, int]:
    """Planes of the layers whose weights are not quantized."""
    return {
        node.name: fewest_planes(node.weights.values, 8)
        for node in graph.nodes
        if isinstance(node, Convolution | Linear) and isinstance(node.weights, FloatWeights)
    }


@pytest.mark.parametrize(("bits", "first", "expected"), [(8, 4, [4, 8]), (6, None, [6, 6])])
def test_layers_that_are_not_quantized_get_the_planes(
    bits: int, first: int | None, expected: list[int]
) -> None:
    graph = import_bytes(exported("resnet", 2, 2)[1])
    assert list(full_precision(graph).values()) == [8, 8]
    images = example_images((32, 32, 3), 8)
    rounded = with_rounded_weights(graph, images, bits=bits, first_layer_bits=first)
    # What a file stores is float32.
    rounded = import_bytes(graph_bytes(rounded))
    assert list(full_precision(rounded).values()) == expected
    layers = [layer for layer in lower(rounded).layers if isinstance(layer, ConvolutionLayer)]
    planes = [len(layer.weight_planes) for layer in layers]
    assert [planes[0], planes[-1]] == expected
    assert set(planes[1:-1]) == {2}


def test_normalisations_are_corrected_for_the_weights() -> None:
    graph = import_bytes(exported("resnet", 2, 2)[1])
    images = example_images((32, 32, 3), 8)
    before = measure_moments(graph, images)
    after = measure_moments(with_rounded_weights(graph, images, first_layer_bits=2), images)
    for name, moments in before.items():
        np.testing.assert_allclose(after[name].mean, moments.mean, atol=1e-3)


def test_command_rounds_a_model_file(tmp_path: Path) -> None:
    model, images = tmp_path / "a.onnx", tmp_path / "images.npz"
    model.write_bytes(exported("resnet", 2, 2)[1])
    np.savez(images, images=example_images((32, 32, 3), 4))
    arguments = ["export", str(model), "--images", str(images), "--first-layer-bits", "5"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "--output must be given for a model file" in result.output
    result = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "b.onnx")])
    assert result.exit_code == 0, result.output
    graph = import_bytes((tmp_path / "b.onnx").read_bytes())
    assert list(full_precision(graph).values()) == [5, 8]
    assert set(graph.ranges) == set(import_bytes(model.read_bytes()).ranges)
