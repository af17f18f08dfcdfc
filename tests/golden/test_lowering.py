"""Lowering: which layers result, that they compute the float network, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

from golden.calibration import measure_ranges, model_session
from golden.export import add_ranges, model_bytes
from golden.fixed_point import signed_range
from golden.float_weights import round_float_weights
from golden.graph import Graph, ModelError
from golden.graph_builder import GraphBuilder
from golden.integer_network import (
    Arithmetic,
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    PoolKind,
    RawOutput,
)
from golden.integer_reference import logits_name, run
from golden.lowering import LoweringOptions, lower
from golden.onnx_import import import_bytes
from golden.random_models import random_images, random_model

WIDE = Arithmetic(coefficient=34, accumulator=50, stream=30)
"""So many bits that rounding hardly matters."""

IMAGE = (8, 6, 3)
UNSIGNED = np.array([1.0, 0.3], dtype=np.float32)


class Author:
    """Builds test graphs: random parameters, numbered names."""

    def __init__(self, seed: int = 0, image: tuple[int, int, int] = IMAGE) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder("test", image)
        self.image = self.builder.image
        self._count = 0

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def first(self, channels: int = 4) -> str:
        weight = round_float_weights(self.rng.normal(0, 0.3, (channels, IMAGE[2], 3, 3)), 8)
        name = self.name("conv")
        return self.builder.convolution(name, self.image, weight, padding=(1, 1, 1, 1))

    def conv(self, x: str, channels: int = 4, kernel: int = 3, stride: int = 1) -> str:
        inputs = self.builder.shape(x)[0]
        codes = self.rng.integers(0, 4, (channels, inputs, kernel, kernel))
        basis = self.rng.normal(0, 0.3, (2, channels))
        pad = kernel // 2
        return self.builder.quantized_convolution(
            self.name("conv"),
            x,
            codes,
            basis,
            stride=(stride, stride),
            padding=(pad, pad, pad, pad) if stride == 1 else (0, 0, pad, pad),
        )

    def bn(self, x: str, gamma: np.ndarray | None = None) -> str:
        channels = self.builder.shape(x)[0]
        if gamma is None:
            gamma = self.rng.uniform(0.5, 1.5, channels)
        beta, mean = self.rng.normal(0, 0.3, (2, channels))
        variance = self.rng.uniform(0.5, 1.5, channels)
        return self.builder.batch_norm(self.name("bn"), x, gamma, beta, mean, variance)

    def relu(self, x: str) -> str:
        return self.builder.relu(self.name("relu"), x)

    def act(self, x: str, basis: np.ndarray = UNSIGNED, encoding: str = "unsigned") -> str:
        return self.builder.learned_activation(self.name("act"), x, basis, encoding)

    def max_pool(self, x: str, window: int = 2, stride: int = 2) -> str:
        return self.builder.max_pool(self.name("max"), x, (window, window), (stride, stride))

    def mean(self, x: str) -> str:
        return self.builder.global_average_pool(self.name("mean"), x)

    def linear(self, x: str, outputs: int = 3) -> str:
        flat = self.builder.flatten(self.name("flat"), x)
        features = self.builder.shape(flat)[0]
        weight = round_float_weights(self.rng.normal(0, 0.3, (outputs, features)), 8)
        return self.builder.linear(self.name("fc"), flat, weight, self.rng.normal(0, 1, outputs))

    def content(self, output: str) -> bytes:
        model = self.builder.model(output)
        add_ranges(model, random_images(model, 4, 0))
        return model_bytes(model)

    def graph(self, output: str) -> Graph:
        return import_bytes(self.content(output))


def float_logits(content: bytes, images: np.ndarray) -> np.ndarray:
    value = np.asarray(model_session(content).run(None, {"images": images})[0])
    return value.reshape(len(images), -1)


def integer_logits(network: IntegerNetwork, images: np.ndarray) -> np.ndarray:
    raw = run(network, images, keep=(logits_name(network),))[logits_name(network)]
    output = network.layers[-1].outputs
    assert isinstance(output, RawOutput)
    channels_first = raw.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.ldexp(channels_first.astype(float), -output.fraction)


def assert_equivalent(content: bytes, tolerance: float = 1e-3) -> None:
    """With wide arithmetic the integer network is the float network up to rounding."""
    images = random_images(onnx.load_model_from_string(content), 3, 1)
    options = LoweringOptions(ranges=measure_ranges(content, images), fixed_point_bits=16)
    network = lower(import_bytes(content), WIDE, options)
    expected = float_logits(content, images)
    error = np.abs(integer_logits(network, images) - expected).max()
    assert error <= tolerance * max(np.abs(expected).max(), 1.0)


def check_bounds(network: IntegerNetwork) -> None:
    """The proof that nothing overflows, in Python integers and apart from lowering."""
    arithmetic = network.arithmetic
    low, high = signed_range(arithmetic.coefficient)
    top = signed_range(arithmetic.accumulator)[1]
    largest = 2 ** (arithmetic.stream - 1)
    for layer in network.layers:
        if isinstance(layer, ConvolutionLayer):
            assert layer.coefficients.min() >= low
            assert layer.coefficients.max() <= high
            kernel = layer.weight_planes.shape[2] * layer.weight_planes.shape[3]
            worst = np.abs(layer.bias).astype(object)
            for (first, last), part in zip(layer.ranges, layer.coefficients, strict=True):
                worst = worst + np.abs(part).sum(axis=(1, 2)) * (kernel * (last - first))
            if layer.residual is not None:
                worst = worst + (layer.residual.window**2 * largest << layer.residual.shift)
                assert 0 <= layer.residual.shift <= 31
        else:
            worst = np.array([largest << layer.shift])
        assert max(worst) <= top
        assert 0 <= layer.stream_shift <= 31
        if layer.affine is not None:
            assert np.abs(layer.affine.gain).max() <= high
            worst = np.abs(layer.affine.gain).astype(object) * largest + np.abs(layer.affine.offset)
        if layer.pool is not None and layer.pool.kind is PoolKind.SUM:
            worst = worst * (layer.pool.window[0] * layer.pool.window[1])
        assert max(worst) <= top
        if isinstance(layer.outputs, CodeOutput):
            assert (np.diff(layer.outputs.thresholds) >= 0).all()
            assert len(layer.outputs.codes) == len(layer.outputs.thresholds) + 1
            assert layer.outputs.codes.max() < 2**layer.outputs.planes
            assert layer.outputs.planes <= arithmetic.planes_maximum
        if isinstance(layer.outputs, FixedPointOutput):
            assert 0 <= layer.outputs.shift <= 31


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    model = random_model(seed)
    content = model_bytes(model)
    check_bounds(lower(import_bytes(content)))
    assert_equivalent(content, 2e-2)


def test_missing_ranges_mean_the_worst_case() -> None:
    for seed in range(10):
        graph = replace(import_bytes(model_bytes(random_model(seed))), ranges={})
        check_bounds(lower(graph))


def test_batch_norm_is_folded_into_the_coefficients() -> None:
    author = Author()
    x = author.relu(author.bn(author.first(), gamma=np.array([1.0, -1.0, 0.5, 2.0])))
    content = author.content(author.linear(author.mean(author.conv(author.act(x)))))
    first, second, _ = lower(import_bytes(content)).layers
    assert isinstance(first, ConvolutionLayer)
    assert (first.affine, first.stream, first.relu) == (None, None, True)
    assert isinstance(first.outputs, CodeOutput)
    assert second.pool is not None
    assert (second.pool.kind, second.pool.window) == (PoolKind.SUM, (8, 6))
    assert_equivalent(content)


def test_max_pool_before_batch_norm_takes_minima() -> None:
    author = Author()
    gamma = np.array([1.0, -1.0, -0.5, 2.0])
    x = author.act(author.relu(author.bn(author.max_pool(author.first()), gamma)))
    content = author.content(author.linear(x))
    first, second = lower(import_bytes(content)).layers
    assert first.pool is not None
    assert first.pool.minimum.tolist() == [False, True, True, False]
    assert isinstance(second, ConvolutionLayer)
    assert second.weight_planes.shape == (8, 3, 4, 3, 4)
    assert_equivalent(content)


def test_overlapping_max_pool_reads_codes() -> None:
    author = Author()
    gamma = np.array([1.0, -1.0, -0.5, 2.0])
    pooled = author.max_pool(author.first(), 3, 2)
    content = author.content(author.linear(author.act(author.relu(author.bn(pooled, gamma)))))
    first, pool, _ = lower(import_bytes(content)).layers
    assert isinstance(first, ConvolutionLayer)
    assert first.stream is None
    assert first.affine is not None
    assert isinstance(first.outputs, CodeOutput)
    assert isinstance(pool, ConvolutionLayer)
    assert pool.source == first.outputs.tensor
    assert pool.pool is not None
    assert pool.pool.minimum.tolist() == [False, True, True, False]
    assert_equivalent(content)


def test_padding_that_no_window_reaches_is_dropped() -> None:
    author = Author(image=(9, 9, 3))
    x = author.relu(author.first())
    padded = author.builder.max_pool("padded", x, (3, 3), (3, 3), (0, 0, 1, 1))
    content = author.content(author.linear(author.act(padded)))
    network = lower(import_bytes(content))
    assert len(network.layers) == 2
    assert network.layers[0].pool is not None
    assert network.layers[0].pool.padding == (0, 0, 0, 0)


def test_pre_activation_block() -> None:
    author = Author()
    x = author.relu(author.bn(author.first()))
    branch = author.conv(author.act(x))
    added = author.builder.add("add", branch, x)
    content = author.content(author.linear(author.act(author.relu(author.bn(added)))))
    first, second, _ = lower(import_bytes(content)).layers
    assert isinstance(first, ConvolutionLayer)
    assert isinstance(second, ConvolutionLayer)
    assert first.stream is not None
    assert (first.stream.tensor, first.relu_stream) == (x, True)
    assert second.residual is not None
    assert (second.residual.tensor, second.residual.window) == (x, 1)
    assert second.stream is None
    assert second.affine is not None
    assert_equivalent(content)


def test_halving_shortcut_with_channel_padding() -> None:
    author = Author()
    x = author.relu(author.bn(author.first()))
    branch = author.conv(author.act(x), channels=8, stride=2)
    halved = author.builder.average_pool("half", x, (2, 2), (2, 2))
    padded = author.builder.channel_pad("pad", halved, 2, 2)
    added = author.builder.add("add", padded, branch)
    content = author.content(author.linear(author.mean(author.relu(added))))
    layer = lower(import_bytes(content)).layers[1]
    assert isinstance(layer, ConvolutionLayer)
    assert layer.residual is not None
    assert layer.residual.window == 2
    assert layer.residual.channel_map.tolist() == [-1, -1, 0, 1, 2, 3, -1, -1]
    assert_equivalent(content)


def test_quantized_shortcut_convolution() -> None:
    author = Author()
    source = author.act(author.relu(author.bn(author.first())))
    branch = author.bn(author.conv(source, channels=6, stride=2))
    shortcut = author.bn(author.conv(source, channels=6, kernel=1, stride=2))
    added = author.builder.add("add", branch, shortcut)
    content = author.content(author.linear(author.act(author.relu(author.bn(added)))))
    _, stored, adding, _ = lower(import_bytes(content)).layers
    assert isinstance(stored, ConvolutionLayer)
    assert stored.outputs is None
    assert isinstance(adding, ConvolutionLayer)
    assert adding.residual is not None
    assert_equivalent(content)


@pytest.mark.parametrize("case", ["pooled", "relu operands", "same operand", "codes", "two codes"])
def test_adds_that_need_an_identity_convolution(case: str) -> None:
    author = Author()
    x = author.relu(author.bn(author.first()))
    if case == "pooled":
        pooled = author.max_pool(x, 3, 2)
        added = author.builder.add("add", author.conv(author.act(pooled)), pooled)
    elif case == "relu operands":
        branch = author.relu(author.conv(author.act(x)))
        added = author.builder.add("add", branch, x)
    elif case == "same operand":
        added = author.builder.add("add", x, x)
    elif case == "two codes":
        added = author.builder.add("add", author.act(author.conv(author.act(x))), author.act(x))
    else:
        codes = author.act(x)
        added = author.builder.add("add", author.conv(codes), codes)
    content = author.content(author.linear(author.act(author.relu(added))))
    network = lower(import_bytes(content))
    assert any(layer.name == "add.identity" for layer in network.layers)
    check_bounds(network)
    assert_equivalent(content)


def test_signed_codes_have_a_plane_of_ones() -> None:
    author = Author()
    basis = np.array([0.25, 1.0, 0.5], dtype=np.float32)
    x = author.act(author.bn(author.first()), basis, "signed")
    content = author.content(author.linear(author.mean(author.conv(x))))
    first, second, _ = lower(import_bytes(content)).layers
    assert isinstance(first.outputs, CodeOutput)
    assert first.outputs.planes == 4
    assert (first.outputs.codes >> 3).tolist() == [1] * 8
    assert (first.outputs.codes & 7).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert isinstance(second, ConvolutionLayer)
    planes = second.coefficients[0, :, 0].astype(float)
    np.testing.assert_allclose(planes[:, 3], -planes[:, :3].sum(axis=1) / 2, atol=2)
    np.testing.assert_allclose(planes[:, 1], 4 * planes[:, 0], atol=4)
    assert_equivalent(content)


def test_concatenation_has_a_basis_per_range() -> None:
    author = Author()
    source = author.act(author.relu(author.bn(author.first())))
    parts = [
        author.act(author.relu(author.bn(author.conv(source, channels=3)))),
        author.act(
            author.bn(author.conv(source, channels=5)), np.array([0.7], np.float32), "signed"
        ),
        author.act(author.bn(author.conv(source, channels=2)), np.array([1, 2, 4], np.float32) / 8),
    ]
    inner = author.builder.concat("inner", parts[:2])
    joined = author.builder.concat("outer", [inner, parts[2]])
    content = author.content(author.linear(author.mean(author.relu(author.conv(joined)))))
    network = lower(import_bytes(content))
    (concatenation,) = network.concatenations
    assert (concatenation.tensor, concatenation.sources) == ("outer", tuple(parts))
    layer = next(layer for layer in network.layers if layer.source == "outer")
    assert isinstance(layer, ConvolutionLayer)
    assert layer.ranges == ((0, 3), (3, 8), (8, 10))
    assert layer.coefficients.shape == (3, 4, 2, 3)
    written = [layer.outputs for layer in network.layers if isinstance(layer.outputs, CodeOutput)]
    assert [output.planes for output in written if output.tensor in parts] == [3, 3, 3]
    assert_equivalent(content)


@pytest.mark.parametrize("pool", ["none", "max", "mean"])
def test_operators_after_a_concatenation_move_before_it(pool: str) -> None:
    author = Author()
    source = author.act(author.relu(author.bn(author.first())))
    x = author.builder.concat("concat", [author.conv(source, 3), author.conv(source, 5)])
    x = author.relu(author.bn(x, gamma=np.linspace(-1, 1.1, 8)))
    if pool == "max":
        x = author.max_pool(x)
    x = author.mean(x) if pool == "mean" else author.conv(author.act(x))
    content = author.content(author.linear(x))
    network = lower(import_bytes(content))
    (concatenation,) = network.concatenations
    assert len(concatenation.sources) == 2
    check_bounds(network)
    assert_equivalent(content)


def test_float_parts_of_a_concatenation_have_one_format_and_one_range() -> None:
    author = Author()
    small = author.bn(author.first(), np.full(4, 0.1))
    large = author.bn(author.conv(author.act(author.first()), 3), np.full(3, 10.0))
    joined = author.builder.concat("concat", [small, large])
    content = author.content(author.linear(author.relu(author.bn(author.conv(joined)))))
    network = lower(import_bytes(content))
    parts = [layer.outputs for layer in network.layers]
    fractions = {o.tensor: o.fraction for o in parts if isinstance(o, FixedPointOutput)}
    assert len({fractions[name] for name in network.concatenations[0].sources}) == 1
    (reader,) = (layer for layer in network.layers if layer.source == "concat")
    assert reader.ranges == ((0, 7),)
    assert reader.coefficients.shape[0] == 1
    assert_equivalent(content)


def test_one_value_with_two_quantizers() -> None:
    author = Author()
    x = author.relu(author.bn(author.first()))
    fine = author.act(x, np.array([0.2, 0.4, 0.8], np.float32))
    y = author.builder.add("add", author.conv(author.act(x)), author.conv(fine))
    content = author.content(author.linear(author.mean(y)))
    network = lower(import_bytes(content))
    assert [type(layer).__name__ for layer in network.layers[:2]] == [
        "ConvolutionLayer",
        "StreamLayer",
    ]
    assert_equivalent(content)


@pytest.mark.parametrize("encoding", ["unsigned", "signed"])
def test_relu_after_mean_is_in_the_thresholds_of_codes(encoding: str) -> None:
    author = Author()
    x = author.builder.average_pool("average", author.first(), (2, 2), (2, 2))
    content = author.content(
        author.linear(author.act(author.relu(author.bn(x)), UNSIGNED, encoding))
    )
    first, _ = lower(import_bytes(content)).layers
    assert not first.relu
    lowest = signed_range(Arithmetic().accumulator)[0]
    assert (first.outputs.thresholds[0] == lowest) == (encoding == "signed")
    assert_equivalent(content)


def norm_on_codes(author: Author) -> str:
    return author.relu(author.bn(author.act(author.first())))


def mean_of_codes(author: Author) -> str:
    return author.mean(author.act(author.first()))


def pool_after_pool(author: Author) -> str:
    x = author.max_pool(author.relu(author.bn(author.first())))
    return author.mean(author.relu(author.bn(x)))


def relu_after_mean(author: Author) -> str:
    x = author.builder.average_pool("average", author.first(), (2, 2), (2, 2))
    return author.relu(author.bn(x))


def relu_after_mean_of_relu(author: Author) -> str:
    return author.relu(author.mean(author.relu(author.first())))


@pytest.mark.parametrize(
    "build",
    [norm_on_codes, mean_of_codes, pool_after_pool, relu_after_mean, relu_after_mean_of_relu],
)
def test_operators_that_no_layer_reaches_follow_an_identity_convolution(
    build: Callable[[Author], str],
) -> None:
    author = Author(2)
    content = author.content(author.linear(build(author)))
    layers = lower(import_bytes(content)).layers
    convolutions = [layer for layer in layers if isinstance(layer, ConvolutionLayer)]
    assert len(convolutions) == 3
    assert convolutions[1].name.endswith(".identity")
    assert_equivalent(content, 2e-3)


def test_float_values_between_identities_have_most_planes_only_if_nothing_else_reads_them() -> None:
    author = Author()
    pool = author.builder.average_pool("average", author.first(), (2, 2), (2, 2))
    left = author.conv(pool)
    right = author.conv(author.relu(pool))
    content = author.content(author.linear(author.builder.add("sum", left, right)))
    outputs = [layer.outputs for layer in lower(import_bytes(content)).layers]
    bits = {o.tensor: o.bits for o in outputs if isinstance(o, FixedPointOutput)}
    assert bits["average.fixed"] == 8
    assert_equivalent(content)


def test_float_first_layer_has_eight_planes() -> None:
    author = Author()
    graph = author.graph(author.linear(author.mean(author.first())))
    first, last = lower(graph).layers
    assert isinstance(first, ConvolutionLayer)
    assert isinstance(last, ConvolutionLayer)
    assert (first.weight_label, first.source_label) == ("W8", "A8")
    assert first.weight_planes.shape == (8, 4, 3, 3, 3)
    halves = first.coefficients[0, :, 7, :7] / 2.0 ** np.arange(7)
    np.testing.assert_allclose(halves, halves[:, 6:].repeat(7, axis=1), rtol=0.01)
    assert (np.sign(first.coefficients[0, :, 7, 7]) == -1).all()
    assert isinstance(last.outputs, RawOutput)


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_fixed_point_bits(bits: int) -> None:
    author = Author()
    graph = author.graph(author.linear(author.mean(author.first())))
    first, last = lower(graph, options=LoweringOptions(fixed_point_bits=bits)).layers
    assert isinstance(first.outputs, FixedPointOutput)
    assert first.outputs.bits == bits
    assert isinstance(last, ConvolutionLayer)
    assert last.coefficients.shape == (1, 3, 8, bits)
    assert last.source_label == f"A{bits}"


def test_streams_follow_their_calibrated_range() -> None:
    author = Author()
    x = author.relu(author.bn(author.first()))
    graph = author.graph(author.linear(author.builder.add("add", author.conv(author.act(x)), x)))
    first = lower(graph, options=LoweringOptions(ranges={**graph.ranges, x: 1.9})).layers[0]
    assert isinstance(first, ConvolutionLayer)
    assert first.stream is not None
    assert first.stream.fraction == 15
    assert first.fraction - first.stream_shift == 15


def test_huge_scales_lower_the_stream_fractions() -> None:
    author = Author()
    x = author.bn(author.first(), gamma=np.full(4, 1e6))
    added = author.builder.add("add", author.bn(author.conv(author.act(x)), np.full(4, 1e-6)), x)
    graph = author.graph(author.linear(author.act(author.relu(author.bn(added)))))
    check_bounds(lower(graph))


def test_zero_weights_and_zero_basis_are_legal() -> None:
    author = Author()
    weight = np.zeros((4, 3, 1, 1))
    x = author.builder.convolution("conv", author.image, weight)
    x = author.act(author.bn(x), np.zeros(3, np.float32))
    content = author.content(author.linear(x))
    check_bounds(lower(import_bytes(content)))
    assert_equivalent(content)


def test_labels_and_names_are_kept() -> None:
    author = Author()
    model = author.builder.model(author.linear(author.first(), 2), labels=("cat", "dog"))
    network = lower(import_bytes(model_bytes(model)))
    assert (network.name, network.labels) == ("test", ("cat", "dog"))
    assert (network.image.height, network.image.width, network.image.channels) == IMAGE


def wide_kernel(author: Author) -> str:
    return author.builder.convolution(
        "wide", author.image, np.ones((2, 3, 12, 1)), padding=(4, 0, 4, 0)
    )


def odd_stride(author: Author) -> str:
    return author.builder.convolution("odd", author.image, np.ones((2, 3, 1, 1)), stride=(3, 1))


def norm_relu_norm(author: Author) -> str:
    pooled = author.max_pool(author.relu(author.bn(author.relu(author.first()))))
    return author.linear(author.builder.batch_norm("bad", pooled, *np.ones((4, 4))))


def norm_on_the_image(author: Author) -> str:
    return author.linear(author.builder.batch_norm("bad", author.image, *np.ones((4, 3))))


def norm_after_flatten(author: Author) -> str:
    flat = author.builder.flatten("flat", author.first())
    x = author.builder.batch_norm("bad", flat, *np.ones((4, 192)))
    return author.builder.linear("fc", x, np.ones((2, 192)))


def dead_end(author: Author) -> str:
    x = author.first()
    author.builder.relu("bad", x)
    return author.linear(x)


def codes_as_output(author: Author) -> str:
    return author.builder.learned_activation("bad", author.first(), UNSIGNED, "unsigned")


def image_in_concat(author: Author) -> str:
    return author.conv(author.builder.concat("bad", [author.image, author.act(author.first())]))


def channel_pad_before_norm(author: Author) -> str:
    padded = author.builder.channel_pad("bad", author.first(), 1, 1)
    return author.linear(author.bn(padded))


REFUSALS: list[tuple[Callable[[Author], str], str]] = [
    (wide_kernel, r"node 'wide': kernel must be in 1\.\.11, not \[12, 1\]"),
    (odd_stride, r"node 'odd': stride must be one of \[1, 2, 4\], not \[3, 1\]"),
    (norm_relu_norm, r"node 'bad': a branch must have one batch-norm after ReLU at most"),
    (norm_on_the_image, r"node 'bad': operator on Image must be one of .*, not BatchNorm"),
    (norm_after_flatten, r"node 'bad': batch-norm after flattening must be of a 1 x 1 image"),
    (dead_end, r"node 'bad': output must be read or be the network's"),
    (codes_as_output, r"node 'bad': the network's output must be a float value"),
    (image_in_concat, r"node 'bad': inputs must be outputs of layers, not the image"),
    (channel_pad_before_norm, r"node 'bad': channels must be padded on the way to an add only"),
]


@pytest.mark.parametrize(("build", "rule"), REFUSALS, ids=[build.__name__ for build, _ in REFUSALS])
def test_refusal(build: Callable[[Author], str], rule: str) -> None:
    author = Author()
    model = author.builder.model(build(author))
    graph = import_bytes(model_bytes(model))
    with pytest.raises(ModelError, match="^" + rule):
        lower(graph)


def test_scales_beyond_all_formats_are_refused() -> None:
    author = Author()
    x = author.bn(author.bn(author.first(), np.full(4, 1e35)), np.full(4, 1e35))
    graph = import_bytes(model_bytes(author.builder.model(author.linear(x))))
    with pytest.raises(ModelError, match=r"^node 'conv1': the worst-case sum must fit the accumu"):
        lower(graph)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"headroom": 0.5}, r"headroom must be at least 1, not 0\.5"),
        ({"fixed_point_bits": 1}, r"fixed_point_bits must be in 2\.\.16, not 1"),
        ({"fixed_point_bits": 17}, r"fixed_point_bits must be in 2\.\.16, not 17"),
        ({"weight_bits": 9}, r"weight_bits must be in 1\.\.8, not 9"),
    ],
)
def test_options_are_checked(options: dict, rule: str) -> None:
    with pytest.raises(ValueError, match="^" + rule):
        LoweringOptions(**options)
