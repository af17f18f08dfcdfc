"""Recalibration restores means and variances; the file of a changed graph says what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.calibration import measure_ranges
from golden.exact_parameters import exact_graph
from golden.example_model import example_images
from golden.graph import BatchNorm, Encoding, FixedPoint, Image, LearnedActivation
from golden.graph_execution import execute, run_nodes
from golden.graph_export import WRITERS, graph_bytes
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.recalibration import fit_activation, measure_moments, recalibrated
from golden.weight_prefix import prefix_graph
from tests.golden.small_networks import FAMILIES, exported

SEED = 3


def test_recalibrated_norms_have_the_moments_of_the_original() -> None:
    graph = import_bytes(exported("resnet", 3, 2)[1])
    images = example_images((32, 32, 3), 16)
    moments = measure_moments(graph, images)
    short = prefix_graph(graph, 1)
    errors = {}
    for name, changed in (
        ("plain", short),
        ("recalibrated", recalibrated(short, images, moments)),
    ):
        found = measure_moments(changed, images)
        errors[name] = max(
            np.abs(found[norm].mean - moments[norm].mean).max()
            + np.abs(np.sqrt(found[norm].variance) - np.sqrt(moments[norm].variance)).max()
            for norm in moments
        )
    assert errors["recalibrated"] < 1e-3 < errors["plain"]


def test_recalibration_keeps_signs_of_scales_and_an_unchanged_graph() -> None:
    graph = import_bytes(exported("resnet", 2, 2)[1])
    images = example_images((32, 32, 3), 16)
    same = recalibrated(graph, images, measure_moments(graph, images))
    scales = 0
    for before, after in zip(graph.nodes, same.nodes, strict=True):
        if isinstance(before, BatchNorm) and isinstance(after, BatchNorm):
            np.testing.assert_allclose(after.scale, before.scale, rtol=1e-3, atol=1e-5)
            scales += int((before.scale < 0).sum())
    assert scales > 0


def test_ranges_are_those_that_onnxruntime_measures() -> None:
    graph = import_bytes(exported("resnet", 2, 2)[1])
    images = example_images((32, 32, 3), 6)
    ranges = recalibrated(graph, images, {}).ranges
    measured = measure_ranges(graph_bytes(graph), images)
    assert ranges.keys() == measured.keys()
    for name, largest in measured.items():
        assert ranges[name] == pytest.approx(largest, rel=0.02)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_fitted_activation_is_closer_and_of_legal_basis(encoding: Encoding) -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(SEED)).relu()
    basis = np.array([0.2, 0.4, 0.8])
    node = LearnedActivation(name="a", inputs=("x",), shape=(1,), basis=basis, encoding=encoding)
    fitted = fit_activation(node, values)

    def error(quantizer: LearnedActivation) -> float:
        levels = torch.from_numpy(quantizer.sorted_levels()[0])
        place = torch.bucketize(values, torch.from_numpy(quantizer.thresholds()))
        return float((levels[place] - values).square().mean())

    assert error(fitted) < error(node)
    assert fitted.basis.min() >= 0


def test_an_activation_that_no_value_reaches_keeps_its_basis() -> None:
    basis = np.array([0.5, 1.0])
    node = LearnedActivation(
        name="a", inputs=("x",), shape=(1,), basis=basis, encoding=Encoding.UNSIGNED
    )
    np.testing.assert_array_equal(fit_activation(node, torch.zeros(100)).basis, basis)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_survives_its_file(family: str) -> None:
    network, content = exported(family, 2, 2)
    graph = import_bytes(content)
    again = import_bytes(graph_bytes(graph))
    assert [node.name for node in again.nodes] == [node.name for node in graph.nodes]
    assert again.ranges == graph.ranges
    assert (again.weight_bits, again.activation_bits) == (2, 2)
    images = example_images(network.image_shape, 2)
    before, after = (execute(g, images)[g.output] for g in (graph, again))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_a_recalibrated_graph_has_formats_of_its_own() -> None:
    """Those of an exact one are of its old numbers."""
    graph = exact_graph(import_bytes(exported("resnet", 3, 2)[1]))
    images = example_images((32, 32, 3), 16)
    short = recalibrated(prefix_graph(graph, 1), images, measure_moments(graph, images))
    assert any(isinstance(node, FixedPoint) for node in graph.nodes)
    assert not any(isinstance(node, FixedPoint) for node in short.nodes)
    assert lower(short).layers


def test_every_kind_of_node_of_the_families_is_written() -> None:
    graphs = [import_bytes(exported(family, 2, 2)[1]) for family in FAMILIES]
    exact = exact_graph(graphs[0])
    kinds = {type(node) for graph in (*graphs, exact) for node in graph.nodes}
    assert kinds - {Image} == set(WRITERS)


def test_tensors_are_freed_but_the_ones_to_come_are_there() -> None:
    graph = import_bytes(exported("densenet", 2, 2)[1])
    images = example_images((24, 24, 3), 2)
    names = [node.name for node, _ in run_nodes(graph, images)]
    assert names == [node.name for node in graph.nodes]
