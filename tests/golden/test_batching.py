"""A batch of images as one network: every tensor holds those of all images, one below the other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from golden.batching import batched
from golden.integer_network import ConvolutionLayer, IntegerNetwork
from golden.integer_reference import run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import random_images, random_model
from tests.golden.small_networks import FAMILIES, exported


def stacked(images: np.ndarray) -> np.ndarray:
    """[N, height, width, C] -> [1, N * height, width, C]."""
    return images.reshape(1, -1, *images.shape[2:])


def assert_equal_to_single_images(network: IntegerNetwork, images: np.ndarray) -> None:
    alone = run(network, images, accumulators=True)
    together = run(batched(network, len(images)), stacked(images), accumulators=True)
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        np.testing.assert_array_equal(together[name], stacked(values), err_msg=name)


@pytest.mark.parametrize("case", range(30))
def test_batch_of_a_random_model_computes_what_each_image_gives_alone(case: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    network = lower(import_bytes(model.SerializeToString()))
    count = int(rng.integers(2, 5))
    assert_equal_to_single_images(network, random_images(model, count, rng))


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_a_network_of_every_family_computes_what_each_image_gives_alone(
    family: str,
) -> None:
    network = lower(import_bytes(exported(family, 2, 2)[1]))
    image = network.image
    shape = (3, image.height, image.width, image.channels)
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    assert_equal_to_single_images(network, images)


@pytest.fixture(scope="module")
def alexnet() -> IntegerNetwork:
    return lower(import_bytes(exported("alexnet", 2, 2)[1]))


def test_fully_connected_layers_become_convolutions_with_a_pixel_per_image(
    alexnet: IntegerNetwork,
) -> None:
    last = batched(alexnet, 4).layers[-3:]
    assert [layer.output_shape[:2] for layer in last] == [(4, 1)] * 3
    assert all(layer.images == 1 for layer in last)
    first, single = last[0], alexnet.layers[-3]
    assert isinstance(first, ConvolutionLayer)
    assert first.stride[0] == single.input_shape[0] > 1


def test_padded_layers_keep_their_images_apart(alexnet: IntegerNetwork) -> None:
    padded = [
        layer
        for layer in batched(alexnet, 4).layers
        if isinstance(layer, ConvolutionLayer) and any(layer.padding)
    ]
    assert padded
    assert all(layer.images == 4 for layer in padded)


def test_batch_of_one_is_the_network_itself(alexnet: IntegerNetwork) -> None:
    assert batched(alexnet, 1) is alexnet


def test_batch_shares_the_weights(alexnet: IntegerNetwork) -> None:
    for single, layer in zip(alexnet.layers, batched(alexnet, 8).layers, strict=True):
        if isinstance(single, ConvolutionLayer):
            assert isinstance(layer, ConvolutionLayer)
            assert layer.weight_planes is single.weight_planes


def test_batches_of_no_image_and_of_batches_are_refused(alexnet: IntegerNetwork) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        batched(alexnet, 0)
    with pytest.raises(ValueError, match="not a batch of 2"):
        batched(batched(alexnet, 2), 2)
