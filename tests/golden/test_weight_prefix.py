"""Prefixes of weight planes: which planes they keep, and that their basis is the best one."""

from __future__ import annotations

import numpy as np
import pytest

from golden.graph import Convolution, FloatWeights, Linear, ModelError, QuantizedWeights
from golden.graph_export import graph_bytes
from golden.integer_reference import logits_name, run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.weight_prefix import prefix_graph, prefix_weights, sorted_weights, weight_planes
from tests.golden.small_networks import exported

SEED = 5


def random_weights(planes: int = 4, channels: int = 6, inputs: int = 40) -> QuantizedWeights:
    rng = np.random.default_rng(SEED)
    basis = rng.uniform(0.5, 1.5, (planes, channels)) * 2.0 ** np.arange(planes)[:, None]
    basis = rng.permuted(basis, axis=0) * rng.choice([-1.0, 1.0], (planes, channels))
    return QuantizedWeights(rng.random((planes, channels, inputs)) < 0.5, basis)


def test_sorting_changes_no_weight_and_puts_the_largest_planes_first() -> None:
    weights = random_weights()
    ordered = sorted_weights(weights)
    np.testing.assert_allclose(ordered.values, weights.values, rtol=1e-12)
    assert (np.diff(np.abs(ordered.basis), axis=0) <= 0).all()
    assert not np.array_equal(ordered.basis, weights.basis)


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_a_prefix_keeps_the_first_planes_and_its_basis_is_the_least_squares_one(
    planes: int,
) -> None:
    weights = random_weights()
    ordered, prefix = sorted_weights(weights), prefix_weights(weights, planes)
    np.testing.assert_array_equal(prefix.planes, ordered.planes[:planes])
    for channel in range(weights.basis.shape[1]):
        signs = 2.0 * prefix.planes[:, channel].T - 1
        best = np.linalg.lstsq(signs, weights.values[channel], rcond=None)[0]
        # The fit is pulled to the old basis with a weight of 1e-4 against 40 elements.
        np.testing.assert_allclose(prefix.basis[:, channel], best, rtol=1e-4, atol=1e-4)


def test_more_planes_come_closer_and_all_planes_are_exact() -> None:
    weights = random_weights()
    errors = [
        float(np.square(prefix_weights(weights, planes).values - weights.values).sum())
        for planes in (1, 2, 3, 4)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-20


def test_planes_that_always_agree_have_a_basis() -> None:
    planes = np.ones((3, 2, 5), bool)
    weights = QuantizedWeights(planes, np.array([[1.0, 2.0]] * 3))
    np.testing.assert_allclose(prefix_weights(weights, 2).values, weights.values, rtol=1e-3)


def test_a_prefix_of_all_planes_computes_what_the_model_does() -> None:
    graph = import_bytes(exported("resnet", 3, 2)[1])
    images = np.random.default_rng(SEED).integers(0, 256, (2, 32, 32, 3), np.uint8)
    networks = [lower(graph), lower(prefix_graph(graph, 3))]
    logits = [run(network, images)[logits_name(network)] for network in networks]
    np.testing.assert_array_equal(*logits)


def test_float_layers_stay_and_the_prefix_is_a_model_file() -> None:
    graph = import_bytes(exported("resnet", 3, 2)[1])
    assert weight_planes(graph) == 3
    prefix = prefix_graph(graph, 2)
    again = import_bytes(graph_bytes(prefix))
    assert again.weight_bits == weight_planes(again) == 2
    kinds = set()
    for before, after in zip(graph.nodes, again.nodes, strict=True):
        assert before.name == after.name
        if isinstance(before, Convolution | Linear) and isinstance(after, Convolution | Linear):
            kinds.add(type(before.weights))
            if isinstance(before.weights, FloatWeights):
                np.testing.assert_array_equal(before.weights.values, after.weights.values)
            else:
                assert isinstance(after.weights, QuantizedWeights)
                assert len(after.weights.planes) == 2
    assert kinds == {FloatWeights, QuantizedWeights}


def test_prefixes_that_do_not_exist_are_refused() -> None:
    graph = import_bytes(exported("resnet", 3, 2)[1])
    for planes in (0, 4):
        with pytest.raises(ModelError, match=f"weight planes must be 1 to 3, not {planes}"):
            prefix_graph(graph, planes)
    with pytest.raises(ModelError, match="must have quantized weights"):
        prefix_graph(import_bytes(exported("vgg-small", None, 2)[1]), 1)
