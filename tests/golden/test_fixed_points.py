"""Fixed points in a file: what they compute, and where they may stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from golden import graph as ir
from golden.calibration import model_session
from golden.exact_parameters import exact_graph
from golden.example_model import calibrated_network, example_images
from golden.export import add_ranges, model_bytes, network_model
from golden.fixed_point import round_shift, saturate
from golden.graph import Graph, ModelError
from golden.graph_builder import GraphBuilder
from golden.graph_execution import execute
from golden.lowering import lower
from golden.onnx_import import import_bytes
from tests.golden.small_networks import exported

FRACTION = 3


def rounding_model(fraction: int, bits: int) -> bytes:
    """Sixteenths of the pixels, from -8 in steps of 1/16, through one fixed point."""
    builder = GraphBuilder("rounding", (16, 16, 1))
    x = builder.convolution("scaled", builder.image, np.full((1, 1, 1, 1), 8.0))
    return model_bytes(builder.model(builder.fixed_point("fixed", x, fraction, bits)))


@pytest.mark.parametrize(("fraction", "bits"), [(3, 18), (2, 5), (0, 3), (-1, 18), (6, 18)])
def test_a_fixed_point_rounds_and_saturates_as_stored_numbers_do(fraction: int, bits: int) -> None:
    content = rounding_model(fraction, bits)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    sixteenths = pixels.astype(np.int64).reshape(1, 1, 16, 16) - 128
    stored = saturate(round_shift(sixteenths << 4, 8 - fraction), bits)
    expected = np.ldexp(stored.astype(np.float64), -fraction)
    (found,) = model_session(content).run(None, {"images": pixels})
    assert np.array_equal(np.asarray(found), expected)
    assert np.array_equal(execute(import_bytes(content), pixels)["fixed"], expected)


def test_a_fixed_point_is_read_back() -> None:
    node = import_bytes(rounding_model(FRACTION, 18)).node("fixed")
    assert isinstance(node, ir.FixedPoint)
    assert (node.fraction, node.bits, node.inputs) == (FRACTION, 18, ("scaled",))


def test_files_without_fixed_points_have_no_function_for_them() -> None:
    plain = onnx.load_model_from_string(exported("vgg-small", 1, 1)[1])
    fixed = onnx.load_model_from_string(rounding_model(FRACTION, 18))
    names = [{function.name for function in model.functions} for model in (plain, fixed)]
    assert names[1] - names[0] == {"FixedPoint"}


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("fraction", 32, "'fraction' must be in -31..31, not 32"),
        ("bits", 1, "'bits' must be in 2..24, not 1"),
        ("bits", 25, "'bits' must be in 2..24, not 25"),
    ],
)
def test_formats_out_of_range_are_refused(attribute: str, value: int, text: str) -> None:
    model = onnx.load_model_from_string(rounding_model(FRACTION, 18))
    node = next(node for node in model.graph.node if node.op_type == "FixedPoint")
    kept = [entry for entry in node.attribute if entry.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(attribute, value)])
    with pytest.raises(ModelError, match=f"node 'fixed': attribute {text}"):
        import_bytes(model_bytes(model))


def test_the_formats_of_a_file_are_those_of_its_layers() -> None:
    graph = exact_graph(import_bytes(exported("resnet-type-a", 2, 2)[1]))
    demanded = {
        node.inputs[0]: node.fraction for node in graph.nodes if isinstance(node, ir.FixedPoint)
    }
    doubled = dataclasses.replace(
        graph, ranges={name: 2 * value for name, value in graph.ranges.items()}
    )
    streams = {
        layer.stream.tensor: layer.stream.fraction
        for layer in lower(doubled).layers
        if getattr(layer, "stream", None) is not None
    }
    assert streams
    assert all(demanded[name] == fraction for name, fraction in streams.items() if name in demanded)
    assert set(streams) & set(demanded)


def changed(graph: Graph, name: str, change: Callable[[ir.Node], ir.Node]) -> Graph:
    nodes = tuple(change(node) if node.name == name else node for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)


def first_fixed(graph: Graph) -> ir.FixedPoint:
    return next(node for node in graph.nodes if isinstance(node, ir.FixedPoint))


def with_other_fraction(graph: Graph) -> Graph:
    node = first_fixed(graph)
    return changed(graph, node.name, lambda n: dataclasses.replace(n, fraction=node.fraction + 20))


def with_other_bits(graph: Graph) -> Graph:
    return changed(graph, first_fixed(graph).name, lambda n: dataclasses.replace(n, bits=17))


def with_two(graph: Graph) -> Graph:
    node = first_fixed(graph)
    second = dataclasses.replace(node, name="again", inputs=(node.name,))
    place = graph.nodes.index(node) + 1
    return dataclasses.replace(graph, nodes=(*graph.nodes[:place], second, *graph.nodes[place:]))


def with_all_readers_behind_it(graph: Graph) -> Graph:
    """Codes that the hardware makes of the accumulator read the rounded stream."""
    node = first_fixed(graph)
    early = next(reader for reader in graph.consumers()[node.inputs[0]] if reader.name != node.name)
    return changed(graph, early.name, lambda n: dataclasses.replace(n, inputs=(node.name,)))


def with_one_inside_a_layer(graph: Graph) -> Graph:
    conv = next(node for node in graph.nodes if isinstance(node, ir.Convolution))
    (reader,) = graph.consumers()[conv.name]
    fixed = ir.FixedPoint(name="inside", inputs=(conv.name,), shape=conv.shape, fraction=4, bits=18)
    graph = changed(graph, reader.name, lambda n: dataclasses.replace(n, inputs=("inside",)))
    place = [node.name for node in graph.nodes].index(conv.name) + 1
    return dataclasses.replace(graph, nodes=(*graph.nodes[:place], fixed, *graph.nodes[place:]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (with_other_fraction, "'fraction' must be at most"),
        (with_other_bits, "'bits' must be 18, not 17"),
        (with_two, "a tensor must be rounded once, not again"),
        (with_all_readers_behind_it, "input must be .*, as in the hardware"),
        (with_one_inside_a_layer, "must be where the hardware stores a number"),
    ],
)
def test_fixed_points_that_the_hardware_does_not_compute_are_refused(
    change: Callable[[Graph], Graph], text: str
) -> None:
    network = calibrated_network("resnet20", 2, 2, image_size=16)
    model = network_model(network)
    add_ranges(model, example_images(network.image_shape, 4))
    graph = exact_graph(import_bytes(model_bytes(model)))
    lower(graph)
    with pytest.raises(ModelError, match=text):
        lower(change(graph))


def test_a_fixed_point_must_not_end_the_network() -> None:
    with pytest.raises(ModelError, match="node 'fixed': output must not be that of the network"):
        lower(import_bytes(rounding_model(FRACTION, 18)))
