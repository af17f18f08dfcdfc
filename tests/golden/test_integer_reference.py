"""Integer reference: bit for bit what the definition in golden.integer_network says."""

from dataclasses import replace

import numpy as np
import pytest

from golden.export import model_bytes
from golden.integer_network import (
    Arithmetic,
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    ImageInput,
    IntegerNetwork,
    Layer,
    PoolKind,
    RawOutput,
    Residual,
)
from golden.integer_reference import IntegerReference, classify, logits_name, run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_images, random_model

TINY = RandomLimits(image=(5, 8), channels=5, blocks=(1, 2), planes=3)
SEEDS = range(25)


def tiny_network(seed: int) -> tuple[IntegerNetwork, np.ndarray]:
    model = random_model(seed, TINY)
    return lower(import_bytes(model_bytes(model))), random_images(model, 2, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_tensor_equals_the_direct_execution(seed: int) -> None:
    network, images = tiny_network(seed)
    tensors = run(network, images, accumulators=True)
    for index, image in enumerate(images):
        expected = execute_directly(network, image)
        assert expected.keys() == tensors.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(tensors[name][index], value, err_msg=f"{name} {seed=}")


def execute_directly(network: IntegerNetwork, image: np.ndarray) -> dict[str, np.ndarray]:
    """The definition, in Python integers, one element after the other."""
    tensors = {network.image.name: image.astype(int) - 128}
    written: dict[str, np.ndarray] = {}
    for layer in network.layers:
        for concatenation in network.concatenations:
            if all(source in tensors for source in concatenation.sources):
                parts = [tensors[source] for source in concatenation.sources]
                tensors[concatenation.tensor] = np.concatenate(parts, axis=2)
        for name, value in execute_layer(network.arithmetic, layer, tensors).items():
            tensors[name] = value
            written[name] = value
    return written


def execute_layer(
    arithmetic: Arithmetic, layer: Layer, tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    written: dict[str, np.ndarray] = {}
    stream = None
    if isinstance(layer, ConvolutionLayer):
        value = convolve(layer, tensors[layer.source])
        written[f"{layer.name}.accumulator"] = value.copy()
        if layer.residual is not None:
            value = value + residual_sum(layer.residual, tensors[layer.residual.tensor])
        stream = layer.stream
    else:
        value = tensors[layer.source] * 2**layer.shift
    assert np.abs(value).max() < 2 ** (arithmetic.accumulator - 1)
    if layer.relu_stream:
        value = np.maximum(value, 0)
    if stream is not None or layer.affine is not None:
        stored = limited(rounded(value, layer.stream_shift), arithmetic.stream)
        if stream is not None:
            written[stream.tensor] = stored
        if layer.affine is not None:
            value = stored * layer.affine.gain + layer.affine.offset
    if layer.relu:
        value = np.maximum(value, 0)
    if layer.pool is not None:
        value = pooled(layer, value)
    match layer.outputs:
        case CodeOutput():
            passed = (value[..., None] > layer.outputs.thresholds).sum(axis=-1)
            written[layer.outputs.tensor] = layer.outputs.codes[passed]
        case FixedPointOutput():
            shifted = rounded(value, layer.outputs.shift)
            written[layer.outputs.tensor] = limited(shifted, layer.outputs.bits)
        case RawOutput():
            written[layer.outputs.tensor] = value
        case None:
            pass
    return written


def convolve(layer: ConvolutionLayer, source: np.ndarray) -> np.ndarray:
    """Coefficients times 2 popcount(w AND a) - popcount(a), per weight plane and source plane."""
    top, left, bottom, right = layer.padding
    planes = layer.coefficients.shape[3]
    bits = (source[None] >> np.arange(planes).reshape(-1, 1, 1, 1)) & 1
    bits = np.pad(bits, ((0, 0), (top, bottom), (left, right), (0, 0)))
    weights = layer.weight_planes.astype(int)
    kernel_h, kernel_w = weights.shape[2:4]
    value = np.zeros(layer.convolution_shape, dtype=int)
    for y, x in np.ndindex(value.shape[:2]):
        row, column = y * layer.stride[0], x * layer.stride[1]
        window = bits[:, row : row + kernel_h, column : column + kernel_w]
        for channel in range(value.shape[2]):
            total = int(layer.bias[channel])
            for (first, last), coefficients in zip(layer.ranges, layer.coefficients, strict=True):
                for i, j in np.ndindex(coefficients.shape[1:]):
                    ones = window[j, :, :, first:last]
                    common = (weights[i, channel, :, :, first:last] & ones).sum()
                    total += int(coefficients[channel, i, j]) * int(2 * common - ones.sum())
            value[y, x, channel] = total
    return value


def residual_sum(residual: Residual, stream: np.ndarray) -> np.ndarray:
    size = residual.window
    height, width = stream.shape[0] // size, stream.shape[1] // size
    total = np.zeros((height, width, len(residual.channel_map)), dtype=int)
    for channel, source in enumerate(residual.channel_map):
        if source >= 0:
            cut = stream[: height * size, : width * size, source]
            total[:, :, channel] = cut.reshape(height, size, width, size).sum(axis=(1, 3))
    return total * 2**residual.shift


def pooled(layer: Layer, value: np.ndarray) -> np.ndarray:
    pool = layer.pool
    assert pool is not None
    result = np.zeros(layer.output_shape, dtype=int)
    height, width, _ = value.shape
    for y, x, channel in np.ndindex(result.shape):
        row, column = y * pool.stride[0] - pool.padding[0], x * pool.stride[1] - pool.padding[1]
        window = value[
            max(row, 0) : min(row + pool.window[0], height),
            max(column, 0) : min(column + pool.window[1], width),
            channel,
        ]
        if pool.kind is PoolKind.SUM:
            result[y, x, channel] = window.sum()
        else:
            result[y, x, channel] = window.min() if pool.minimum[channel] else window.max()
    return result


def rounded(value: np.ndarray, shift: int) -> np.ndarray:
    return np.floor_divide(2 * value + 2**shift, 2 ** (shift + 1))


def limited(value: np.ndarray, bits: int) -> np.ndarray:
    return np.minimum(np.maximum(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def test_the_seeds_reach_all_features() -> None:
    seen: set[str] = set()
    for seed in SEEDS:
        network, _ = tiny_network(seed)
        if network.concatenations:
            seen.add("concatenation")
        for layer in network.layers:
            seen.add(type(layer).__name__)
            seen.add(type(layer.outputs).__name__)
            if layer.affine is not None:
                seen.add("affine")
            if layer.pool is not None:
                seen.add(f"{type(layer).__name__} pool {layer.pool.kind.value}")
                if layer.pool.minimum.any():
                    seen.add("minimum")
                if any(layer.pool.padding):
                    seen.add("pool padding")
            if isinstance(layer, ConvolutionLayer) and layer.residual is not None:
                seen.add(f"residual {layer.residual.window}")
                if (layer.residual.channel_map < 0).any():
                    seen.add("channel padding")
    assert seen >= {
        "concatenation",
        "ConvolutionLayer",
        "StreamLayer",
        "CodeOutput",
        "FixedPointOutput",
        "RawOutput",
        "affine",
        "ConvolutionLayer pool maximum",
        "ConvolutionLayer pool sum",
        "StreamLayer pool maximum",
        "minimum",
        "pool padding",
        "residual 1",
        "residual 2",
        "channel padding",
    }


def test_a_batch_is_its_images() -> None:
    network, images = tiny_network(0)
    name = logits_name(network)
    together = run(network, images)[name]
    apart = [run(network, image[None])[name][0] for image in images]
    np.testing.assert_array_equal(together, np.stack(apart))


def test_kept_tensors() -> None:
    network, images = tiny_network(1)
    name = logits_name(network)
    everything = run(network, images)
    kept = run(network, images, keep=(name,))
    assert list(kept) == [name]
    np.testing.assert_array_equal(kept[name], everything[name])


def test_classify_takes_the_first_of_the_largest_logits() -> None:
    network, images = tiny_network(2)
    logits = run(network, images)[logits_name(network)].reshape(len(images), -1)
    np.testing.assert_array_equal(classify(network, images, batch=1), logits.argmax(axis=1))


def test_wrong_images_are_refused() -> None:
    network, images = tiny_network(0)
    height, width, channels = images.shape[1:]
    shape = rf"{height}, {width}, {channels}"
    with pytest.raises(ValueError, match=rf"^images must be uint8 \[N, {shape}\], not int64 \["):
        run(network, images.astype(np.int64))
    with pytest.raises(ValueError, match=rf"^images must be uint8 \[N, {shape}\], not uint8 \["):
        run(network, images[:, 1:])


def one_pixel_network(coefficient: int, bias: int, channels: int = 1) -> IntegerNetwork:
    """Logit = bias + coefficient * (bit 7 of the pixel), once per image channel."""
    coefficients = np.zeros((1, 1, 1, 8), dtype=np.int64)
    coefficients[0, 0, 0, 7] = coefficient
    layer = ConvolutionLayer(
        name="layer",
        source="image",
        input_shape=(1, 1, channels),
        convolution_shape=(1, 1, 1),
        output_shape=(1, 1, 1),
        weight_planes=np.ones((1, 1, 1, 1, channels), dtype=bool),
        coefficients=coefficients,
        ranges=((0, channels),),
        bias=np.array([bias]),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        weight_label="W1",
        source_label="A8",
        fraction=0,
        outputs=RawOutput("logits", 0),
    )
    return IntegerNetwork(name="tiny", image=ImageInput("image", 1, 1, channels), layers=(layer,))


def test_overflow_is_an_error() -> None:
    dark = np.zeros((1, 1, 1, 1), dtype=np.uint8)
    assert run(one_pixel_network(5, 7), dark)["logits"].item() == 12
    with pytest.raises(
        OverflowError, match=r"^layer 'layer': values must fit 32 bits, not 2147483648\.\."
    ):
        run(one_pixel_network(1, 2**31 - 1), dark)


@pytest.mark.parametrize("coefficient", [1, -1, 2**17 - 1, -(2**17), 2**30 + 1, 2**45 + 1])
def test_coefficients_of_any_size_are_exact(coefficient: int) -> None:
    network = replace(
        one_pixel_network(coefficient, 3, channels=4), arithmetic=Arithmetic(accumulator=60)
    )
    dark = np.zeros((1, 1, 1, 4), dtype=np.uint8)
    assert run(network, dark)["logits"].item() == 4 * coefficient + 3


def test_inexact_sums_are_refused() -> None:
    with pytest.raises(
        OverflowError, match=r"^layer 'layer': sums must stay below 2\*\*53 to be exact"
    ):
        IntegerReference(one_pixel_network(2**61 - 1, 0, channels=16))


def test_logits_need_an_output() -> None:
    network, _ = tiny_network(0)
    layer = next(layer for layer in network.layers if isinstance(layer, ConvolutionLayer))
    stream_only = replace(network, layers=(replace(layer, outputs=None),))
    with pytest.raises(ValueError, match=r"^the last layer must have an output, not only a stream"):
        logits_name(stream_only)
