"""An exported model whose full-precision weights get fewer planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from golden.calibration import measure_ranges
from golden.example_model import example_images
from golden.export import model_bytes
from golden.float_weights import fewest_planes
from golden.graph import Convolution, FloatWeights, Graph, Linear
from golden.integer_network import ConvolutionLayer
from golden.lowering import lower
from golden.model_rounding import round_model
from golden.onnx_import import import_bytes
from host.cli import cli
from tests.golden.small_networks import exported


def full_precision(graph: Graph) -> dict[str, int]:
    """Planes of the layers whose weights are not quantized."""
    return {
        node.name: fewest_planes(node.weights.values, 8)
        for node in graph.nodes
        if isinstance(node, Convolution | Linear) and isinstance(node.weights, FloatWeights)
    }


def image_shape(path: Path) -> tuple[int, int, int]:
    channels, height, width = import_bytes(path.read_bytes()).image.shape
    return height, width, channels


def initializers(model: onnx.ModelProto) -> dict[str, bytes]:
    return {entry.name: entry.SerializeToString() for entry in model.graph.initializer}


@pytest.mark.parametrize(("bits", "first", "expected"), [(8, 4, [4, 8]), (6, None, [6, 6])])
def test_layers_that_are_not_quantized_get_the_planes(
    bits: int, first: int | None, expected: list[int]
) -> None:
    content = exported("resnet", 2, 2)[1]
    assert list(full_precision(import_bytes(content)).values()) == [8, 8]
    model = onnx.load_model_from_string(content)
    round_model(model, bits=bits, first_layer_bits=first)
    graph = import_bytes(model_bytes(model))
    assert list(full_precision(graph).values()) == expected
    layers = [layer for layer in lower(graph).layers if isinstance(layer, ConvolutionLayer)]
    planes = [len(layer.weight_planes) for layer in layers]
    assert [planes[0], planes[-1]] == expected
    assert set(planes[1:-1]) == {2}


def test_all_else_stays_so_that_training_can_go_on() -> None:
    content = exported("resnet", 2, 2)[1]
    model = onnx.load_model_from_string(content)
    before = initializers(model)
    round_model(model, first_layer_bits=3)
    after = initializers(model)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"conv0.weight"}
    round_model(model, first_layer_bits=3)
    assert initializers(model) == after


def test_command_rounds_a_model_file(tmp_path: Path) -> None:
    model, images = tmp_path / "a.onnx", tmp_path / "images.npz"
    model.write_bytes(exported("resnet", 2, 2)[1])
    pixels = example_images((32, 32, 3), 4)
    np.savez(images, images=pixels)
    arguments = ["export", str(model), "--images", str(images), "--first-layer-bits", "5"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "--output must be given for a model file" in result.output
    result = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "b.onnx")])
    assert result.exit_code == 0, result.output
    content = (tmp_path / "b.onnx").read_bytes()
    graph = import_bytes(content)
    assert list(full_precision(graph).values()) == [5, 8]
    assert graph.ranges == measure_ranges(content, pixels)


def test_command_refuses_a_file_of_another_program(tmp_path: Path) -> None:
    brevitas = Path(__file__).parent / "data" / "brevitas-small-opset13.onnx"
    height, width, channels = image_shape(brevitas)
    images, output = tmp_path / "images.npz", tmp_path / "b.onnx"
    np.savez(images, images=np.zeros((1, height, width, channels), np.uint8))
    arguments = ["export", str(brevitas), "--images", str(images), "-o", str(output)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert "model must be a file of `lqfpga export` for its weights" in result.output
    assert not output.exists()
