"""Post-training quantization: the sites, the fits, and that a changed network is a model."""

from __future__ import annotations

import numpy as np
import pytest

from golden.example_model import example_images
from golden.float_weights import float_weight_planes
from golden.graph import Convolution, Graph, LearnedActivation, Linear, ModelError, QuantizedWeights
from golden.graph_execution import execute
from golden.integer_reference import logits_name, run
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.post_training import FLOAT_PLANES, PostTraining, fit_weights
from tests.golden.small_networks import exported

SEED = 7
IMAGES = example_images((16, 16, 3), 12)


def graph_of(family: str, weights: int | None, activations: int | None) -> Graph:
    return import_bytes(exported(family, weights, activations)[1])


def planes_of(graph: Graph) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in graph.nodes:
        if isinstance(node, LearnedActivation):
            found[node.name] = node.planes
        elif isinstance(node, Convolution | Linear) and isinstance(node.weights, QuantizedWeights):
            found[node.name] = len(node.weights.planes)
    return found


def error(values: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(values - other).sum())


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_fitted_weights_are_closer_than_uniform_ones_and_come_closer_with_planes(
    planes: int,
) -> None:
    values = np.random.default_rng(SEED).normal(0, 0.1, (5, 9, 3, 3))
    fitted = fit_weights(values, planes)
    assert fitted.planes.shape == (planes, *values.shape)
    bits, basis = float_weight_planes(values, planes)
    uniform = QuantizedWeights(bits, basis)
    assert error(fitted.values, values) < error(uniform.values, values)
    assert error(fit_weights(values, planes + 1).values, values) < error(fitted.values, values)


def test_one_plane_is_the_mean_magnitude_with_the_sign() -> None:
    values = np.random.default_rng(SEED).normal(0, 1, (4, 50))
    mean = np.abs(values).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(fit_weights(values, 1).values, np.sign(values) * mean, rtol=1e-4)


def test_weights_of_few_levels_are_found_again() -> None:
    rng = np.random.default_rng(SEED)
    weights = QuantizedWeights(rng.random((2, 3, 60)) < 0.5, np.array([[1.0] * 3, [2.5] * 3]))
    np.testing.assert_allclose(fit_weights(weights.values, 2).values, weights.values, rtol=1e-3)


def test_a_network_with_its_own_planes_computes_the_same() -> None:
    graph = graph_of("vgg-small", 2, 2)
    quantizer = PostTraining(graph, IMAGES)
    assert quantizer.own == planes_of(graph)
    same = quantizer.quantized(quantizer.own)
    before, after = (execute(g, IMAGES[:2])[g.output] for g in (graph, same))
    np.testing.assert_allclose(after, before, rtol=0.02, atol=0.02 * np.abs(before).max())


@pytest.mark.parametrize(("weights", "activations"), [(2, 2), (None, None)])
def test_every_site_gets_its_planes_and_the_integers_follow(
    weights: int | None, activations: int | None
) -> None:
    graph = graph_of("vgg-small", weights, activations)
    quantizer = PostTraining(graph, IMAGES)
    rng = np.random.default_rng(SEED)
    sites = (*quantizer.weights, *quantizer.activations)
    planes = {site: int(rng.integers(1, 5)) for site in sites}
    assert len(set(planes.values())) > 1
    changed = quantizer.quantized(planes)
    assert planes_of(changed) == planes
    network = lower(changed)
    logits = run(network, IMAGES[:2])[logits_name(network)]
    assert len(np.unique(logits)) > 2


def test_a_float_network_keeps_its_first_and_last_layer_and_codes_what_the_others_read() -> None:
    graph = graph_of("vgg-small", None, None)
    quantizer = PostTraining(graph, IMAGES)
    layers = [n.name for n in graph.nodes if isinstance(n, Convolution | Linear)]
    assert list(quantizer.weights) == layers[1:-1]
    assert len(quantizer.activations) == len(quantizer.weights)
    assert set(quantizer.own.values()) == {FLOAT_PLANES}


def test_more_planes_come_closer_to_the_float_network() -> None:
    graph = graph_of("vgg-small", None, None)
    quantizer = PostTraining(graph, IMAGES)
    wanted = execute(graph, IMAGES)[graph.output]
    errors = []
    for planes in (1, 2, 4):
        changed = quantizer.quantized(dict.fromkeys(quantizer.own, planes))
        errors.append(error(execute(changed, IMAGES)[changed.output], wanted))
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(("weights", "activations"), [(2, 2), (None, None)])
def test_errors_fall_with_planes_and_own_weights_have_none(
    weights: int | None, activations: int | None
) -> None:
    quantizer = PostTraining(graph_of("vgg-small", weights, activations), IMAGES)
    errors = quantizer.errors((1, 2, 4))
    for site in (*quantizer.weights, *quantizer.activations):
        assert 0 <= errors[site, 4] <= errors[site, 2] + 1e-3
        assert errors[site, 2] <= errors[site, 1]
        assert 0.01 < errors[site, 1] < 1
    if weights is not None:
        assert all(errors[site, 2] == 0 for site in quantizer.weights)
    else:
        assert all(errors[site, 2] > 0.01 for site in quantizer.weights)


def test_what_makes_no_sense_is_refused() -> None:
    graph = graph_of("vgg-small", 2, 2)
    with pytest.raises(ValueError, match="calibration images must be at least one"):
        PostTraining(graph, IMAGES[:0])
    quantizer = PostTraining(graph, IMAGES)
    with pytest.raises(ValueError, match="planes of site .* must be given"):
        quantizer.quantized({quantizer.weights[0]: 1})
    nodes = tuple(n for n in graph.nodes if not isinstance(n, Convolution | Linear))
    with pytest.raises(ModelError, match="must have a layer between"):
        PostTraining(Graph(name="n", nodes=nodes[:1], output="image"), IMAGES)
