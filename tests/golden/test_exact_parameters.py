"""Exact export: the float network in the file computes what the hardware does, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from golden import graph as ir
from golden.calibration import model_session
from golden.evaluate import evaluate
from golden.exact_export import exact_model
from golden.exact_parameters import exact_graph
from golden.exactness import inexact_layers
from golden.example_model import example_images
from golden.export import model_bytes
from golden.float_weights import fewest_planes
from golden.graph import Graph, ModelError
from golden.graph_execution import execute
from golden.onnx_import import import_bytes
from golden.quantizers import ActivationEncoding
from host.cli import cli
from tests.golden.small_networks import exported

EXACT = ("vgg-small", "alexnet", "vgg-variant", "resnet", "resnet-type-a")
"""Families without means over windows that are no power of two."""


def images_of(graph: Graph, count: int = 6) -> np.ndarray:
    channels, height, width = graph.image.shape
    return example_images((height, width, channels), count)


def exact(content: bytes, **planes: int) -> bytes:
    model = onnx.load_model_from_string(content)
    return model_bytes(exact_model(model, images_of(import_bytes(content)), **planes))


def largest_difference(content: bytes) -> tuple[float, float]:
    """Largest share of differing codes in a tensor, and largest difference of a logit."""
    images = images_of(import_bytes(content), 8)
    result = evaluate(content, images, np.zeros(len(images), dtype=np.int64))
    return max(entry.differing for entry in result.activations), result.largest_logit_difference


@pytest.mark.parametrize("bits", [(2, 2), (1, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("family", EXACT)
def test_float_engine_and_integers_agree_in_every_code_and_logit(
    family: str, bits: tuple[int, int]
) -> None:
    content = exact(exported(family, *bits)[1], first_layer_bits=5)
    assert inexact_layers(import_bytes(content)) == {}
    assert largest_difference(content) == (0.0, 0.0)


def test_signed_activations_are_exact_too() -> None:
    content = exported("resnet-type-a", 2, 2, ActivationEncoding.SIGNED)[1]
    assert largest_difference(exact(content, first_layer_bits=5)) == (0.0, 0.0)


def test_float32_and_float64_compute_the_same_scores() -> None:
    content = exact(exported("resnet-type-a", 2, 2)[1], first_layer_bits=5)
    graph = import_bytes(content)
    images = images_of(graph, 8)
    (found,) = model_session(content).run(None, {"images": images})
    assert np.array_equal(np.asarray(found, np.float64), execute(graph, images)[graph.output])


def test_without_it_the_integers_differ() -> None:
    """The check can fail: what is rounded by the hardware shows."""
    content = exported("resnet-type-a", 2, 2)[1]
    codes, logit = largest_difference(content)
    assert codes > 0
    assert logit > 0
    rounded = inexact_layers(import_bytes(content))
    assert "coefficients, stream" in rounded["conv0"]


@pytest.mark.parametrize("family", ["resnet-bottleneck", "densenet"])
def test_a_mean_over_nine_pixels_stays_rounded_and_is_named(family: str) -> None:
    content = exact(exported(family, 2, 2)[1], first_layer_bits=5)
    rounded = inexact_layers(import_bytes(content))
    assert rounded
    assert all("normalisation" in numbers for numbers in rounded.values())
    codes, logit = largest_difference(content)
    assert codes == 0
    assert logit > 0


def test_numbers_move_little() -> None:
    before = import_bytes(exported("resnet-type-a", 3, 3)[1])
    after = exact_graph(before)
    for node in before.nodes:
        if isinstance(node, ir.LearnedActivation):
            found = after.node(node.name)
            assert isinstance(found, ir.LearnedActivation)
            np.testing.assert_allclose(found.basis, node.basis, rtol=2**-6)


def test_full_precision_weights_are_rounded_once_and_keep_their_planes() -> None:
    content = exported("vgg-small", 2, 2)[1]
    original = import_bytes(content).node("conv0")
    found = import_bytes(exact(content, first_layer_bits=4)).node("conv0")
    assert isinstance(original, ir.Convolution)
    assert isinstance(found, ir.Convolution)
    assert fewest_planes(found.weights.values, 8) == 4
    # Each channel is the original one times a factor, but for half a step of 15 to its largest.
    for before, after in zip(original.weights.values, found.weights.values, strict=True):
        factor = (before * after).sum() / (before * before).sum()
        assert np.abs(after - factor * before).max() < np.abs(after).max() / 7


def test_an_exact_network_stays_as_it_is() -> None:
    graph = import_bytes(exact(exported("resnet", 2, 2)[1]))
    assert exact_graph(graph) is graph


def test_a_model_without_ranges_is_refused() -> None:
    graph = dataclasses.replace(import_bytes(exported("vgg-small", 2, 2)[1]), ranges={})
    with pytest.raises(ModelError, match="must have measured ranges"):
        exact_graph(graph)


def test_the_command_says_what_is_still_rounded(tmp_path: Path) -> None:
    source, output = tmp_path / "model.onnx", tmp_path / "exact.onnx"
    pictures = tmp_path / "images.npz"
    for family, expected in (
        ("vgg-small", "no number is rounded by the hardware"),
        ("resnet-bottleneck", "still rounded by the hardware: normalisation of stage1.block1"),
    ):
        source.write_bytes(exported(family, 2, 2)[1])
        np.savez(pictures, images=images_of(import_bytes(source.read_bytes())))
        arguments = ["export", str(source), "-o", str(output), "--images", str(pictures)]
        result = CliRunner().invoke(cli, [*arguments, "--exact", "--first-layer-bits", "5"])
        assert result.exit_code == 0, result.output
        assert expected in result.output
        assert any(
            isinstance(node, ir.FixedPoint) for node in import_bytes(output.read_bytes()).nodes
        )
