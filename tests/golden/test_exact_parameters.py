"""Exact export: the float network in the file computes what the hardware does, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
from golden.exactness import check_near, inexact_layers
from golden.example_model import example_images
from golden.export import add_ranges, model_bytes
from golden.float_weights import fewest_planes
from golden.graph import Graph, ModelError
from golden.graph_builder import GraphBuilder
from golden.graph_execution import execute
from golden.graph_export import graph_bytes
from golden.lowering_match import match_layers
from golden.onnx_import import import_bytes
from golden.quantizers import ActivationEncoding
from host.cli import cli
from tests.golden.small_networks import FAMILIES, exported

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


@pytest.mark.parametrize("family", ["resnet-bottleneck", "densenet", "googlenet-variant"])
def test_a_mean_over_nine_pixels_stays_rounded_and_is_named(family: str) -> None:
    content = exact(exported(family, 2, 2)[1], first_layer_bits=5)
    rounded = inexact_layers(import_bytes(content))
    assert rounded
    assert all("normalisation" in numbers for numbers in rounded.values())
    codes, logit = largest_difference(content)
    assert codes == 0
    assert logit > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_its_first_tensors(family: str) -> None:
    """Before codes differ: what the first layers compute is what it was, but for the rounding."""
    content = exported(family, 2, 2)[1]
    before, after = import_bytes(content), import_bytes(exact(content))
    images = images_of(before)
    old, new = execute(before, images), execute(after, images)
    first = next(node for node in before.nodes if isinstance(node, ir.LearnedActivation))
    value = first.inputs[0]
    moved = np.sqrt(np.square(new[value] - old[value]).mean() / np.square(old[value]).mean())
    assert moved < 0.03
    share = (np.isclose(new[first.name], old[first.name], rtol=0.01)).mean()
    assert share > 0.95


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


def test_an_exact_network_can_be_exported_again_with_other_planes() -> None:
    content = exact(exported("resnet", 2, 2)[1], first_layer_bits=6)
    again = exact(content, first_layer_bits=5)
    assert inexact_layers(import_bytes(again)) == {}
    node = import_bytes(again).node("conv0")
    assert isinstance(node, ir.Convolution)
    assert fewest_planes(node.weights.values, 8) == 5


def test_exact_weights_of_the_last_layer_take_half_the_room() -> None:
    plain = exported("vgg-small", 2, 2)[1]
    content = exact(plain, first_layer_bits=5)
    kinds = [
        [node.op_type for node in onnx.load_model_from_string(c).graph.node]
        for c in (plain, content)
    ]
    assert "Gemm" in kinds[0]
    assert "Gemm" not in kinds[1]
    assert "HalfLinear" in kinds[1]
    sizes = [
        len(entry.raw_data)
        for c in (plain, content)
        for entry in onnx.load_model_from_string(c).graph.initializer
        if entry.name == "fc.weight"
    ]
    assert sizes == [2 * sizes[1], sizes[1]]


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


RNG = np.random.default_rng(11)
SCALE = np.array([1.5, -0.8, 0.7, -1.2])
BASIS = np.array([0.3, 0.65])


class Small:
    """A network of a few layers under construction, with weights of its own."""

    def __init__(self) -> None:
        self.builder = GraphBuilder("small", (8, 8, 3))
        self.x = self.conv("conv0", self.builder.image, 3)
        self.x = self.activation("act0", self.x)

    def conv(self, name: str, x: str, channels: int) -> str:
        weight = RNG.normal(0, 0.3, (4, channels, 3, 3))
        return self.builder.convolution(name, x, weight, padding=(1, 1, 1, 1))

    def coded(self, name: str, x: str) -> str:
        codes = RNG.integers(0, 4, (4, self.builder.shape(x)[0], 3, 3))
        basis = np.array([[0.1], [0.21]]) * RNG.uniform(0.5, 1.5, (2, 4))
        return self.builder.quantized_convolution(name, x, codes, basis, padding=(1, 1, 1, 1))

    def norm(self, name: str, x: str, scale: np.ndarray) -> str:
        count = len(scale)
        offset, mean = RNG.normal(0, 0.2, count), RNG.normal(0, 0.2, count)
        return self.builder.batch_norm(name, x, scale, offset, mean, np.full(count, 0.9))

    def activation(self, name: str, x: str) -> str:
        return self.builder.learned_activation(name, x, BASIS, "unsigned")

    def graph(self, x: str) -> Graph:
        """With a last layer behind codes ``x``, and measured ranges."""
        last = self.builder.linear(
            "fc", self.builder.flatten("flat", x), RNG.normal(0, 0.1, (5, self.features(x)))
        )
        model = self.builder.model(last)
        add_ranges(model, example_images((8, 8, 3), 8))
        return import_bytes(model_bytes(model))

    def features(self, x: str) -> int:
        return int(np.prod(self.builder.shape(x)))


def mean_before_norm(net: Small) -> str:
    x = net.builder.average_pool("pool", net.coded("conv", net.x), (2, 2), (2, 2))
    return net.activation("act", net.norm("norm", x, SCALE))


def mean_without_norm(net: Small) -> str:
    x = net.builder.average_pool("pool", net.coded("conv", net.x), (2, 2), (2, 2))
    return net.activation("act", x)


def norms_around_a_maximum(net: Small) -> str:
    x = net.norm("norm1", net.coded("conv", net.x), SCALE)
    x = net.builder.max_pool("pool", x, (2, 2), (2, 2))
    return net.activation("act", net.norm("norm2", x, np.array([1.0, 0.5, -0.7, -1.0])))


def norm_behind_a_concatenation(net: Small) -> str:
    parts = [net.coded("conv1", net.x), net.coded("conv2", net.x)]
    x = net.builder.concat("both", parts)
    return net.activation("act", net.norm("norm", x, np.tile(SCALE, 2)))


def norm_that_two_branches_read(net: Small) -> str:
    start = net.coded("conv", net.x)
    shared = net.norm("norm1", net.builder.relu("relu", start), np.abs(SCALE))
    first = net.activation("act1", shared)
    second = net.activation("act2", net.norm("norm2", shared, np.abs(SCALE)))
    return net.builder.concat("both", [first, second])


def float_weights_on_codes(net: Small) -> str:
    return net.activation("act", net.norm("norm", net.conv("conv", net.x, 4), SCALE))


def codes_that_are_all_zero(net: Small) -> str:
    x = net.norm("norm1", net.coded("conv1", net.x), SCALE)
    x = net.builder.learned_activation("none", x, np.zeros(2), "unsigned")
    return net.activation("act", net.norm("norm2", net.coded("conv2", x), SCALE))


def stream_that_is_also_concatenated(net: Small) -> str:
    """Lowering moves the quantizer in front of the concatenation, under another name."""
    stored = net.norm("norm1", net.coded("conv1", net.x), SCALE)
    x = net.builder.add("add", net.coded("conv2", net.x), stored)
    return net.activation("act", net.builder.concat("both", [stored, x]))


def relu_that_two_branches_read(net: Small) -> str:
    """Codes of the accumulator, and of a normalisation of the rounded stream."""
    start = net.coded("conv", net.x)
    x = net.builder.relu("relu", start)
    first = net.activation("act1", x)
    second = net.activation("act2", net.norm("norm", x, np.abs(SCALE)))
    return net.builder.concat("both", [first, second])


@pytest.mark.parametrize(
    "build",
    [
        stream_that_is_also_concatenated,
        relu_that_two_branches_read,
        mean_before_norm,
        mean_without_norm,
        norms_around_a_maximum,
        norm_behind_a_concatenation,
        norm_that_two_branches_read,
        float_weights_on_codes,
        codes_that_are_all_zero,
    ],
)
def test_structures_keep_what_they_compute(build: Callable[[Small], str]) -> None:
    net = Small()
    before = net.graph(build(net))
    after = exact_graph(before)
    images = images_of(before, 8)
    old, new = execute(before, images), execute(after, images)
    # The codes that the second layer reads are the same but for a few.
    assert np.isclose(new["act0"], old["act0"], rtol=0.01).mean() > 0.98
    for node in before.nodes:
        if isinstance(node, ir.LearnedActivation):
            value = node.inputs[0]
            error = np.sqrt(np.square(new[value] - old[value]).mean())
            assert error <= 0.15 * np.sqrt(np.square(old[value]).mean()) + 1e-9, node.name
    content = graph_bytes(after)
    if not inexact_layers(after):
        assert largest_difference(content) == (0.0, 0.0)


def test_what_is_stored_twice_in_two_formats_is_named() -> None:
    """A stream that is also the fixed-point input of a layer has one rounding in the file."""
    net = Small()
    stored = net.builder.relu("relu", net.coded("conv1", net.x))
    x = net.builder.add("add", net.conv("conv2", stored, 4), stored)
    graph = net.graph(net.activation("act", x))
    rounded = inexact_layers(exact_graph(graph))
    assert any("output" in numbers for numbers in rounded.values())


def test_a_network_that_is_far_from_the_given_one_is_refused() -> None:
    net = Small()
    graph = net.graph(mean_before_norm(net))
    other = dataclasses.replace(
        graph,
        nodes=tuple(
            dataclasses.replace(node, scale=node.scale / 4)
            if isinstance(node, ir.BatchNorm)
            else node
            for node in graph.nodes
        ),
    )
    check_near(match_layers(graph), match_layers(graph))
    with pytest.raises(ModelError, match="node 'conv': exact numbers must be near"):
        check_near(match_layers(graph), match_layers(other))
