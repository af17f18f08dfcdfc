"""Random models on the RTL of ``tiny``: all legal features are reached, and all values equal."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden import graph as ir
from golden.export import model_bytes
from golden.graph import Graph
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import preset
from sim.bench import Bench, make_simulator
from sim.cosimulation import Case, cosimulate_all
from sim.design import cached_verilog
from sim.images import random_images
from sim.reference import expected_arrays

TINY = preset("tiny")
LIMITS = RandomLimits(image=(5, 11), channels=11, blocks=(1, 2))
SEEDS = range(80, 120)
LEAST_EXACT = 34
REFUSALS = ("must fit", "pool window must be at most")
"""What the compiler may say to such a model."""

FEATURES = (
    *(f"{count} weight planes" for count in range(1, 9)),
    *(f"{count} activation planes" for count in range(1, 9)),
    *(f"kernel {size}" for size in (1, 2, 3, 4, 5, 6, 7, 11)),
    *(f"stride {size}" for size in (1, 2, 4)),
    "mixed widths",
    "codes in {0,1}",
    "codes in {-1,+1}",
    "unordered basis",
    "negative batch-norm scale",
    "padding of one side only",
    "no padding",
    "odd size",
    "max-pool before batch-norm",
    "overlapping pool",
    "global average pool",
    "residual",
    "halved residual",
    "concatenation",
    "float weights in the last layer",
    "quantized weights in the first layer",
)
"""Each of these must occur in some model that runs."""


def features(graph: Graph) -> set[str]:
    """What of ``FEATURES`` a graph has, and its widths."""
    found = {name for node in graph.nodes for name in node_features(node, graph)}
    widths = {name for name in found if name.endswith("weight planes")}
    return found | ({"mixed widths"} if len(widths) > 1 else set())


def node_features(node: ir.Node, graph: Graph) -> Iterator[str]:
    if isinstance(node, ir.Convolution | ir.Linear):
        yield from weight_features(node, graph)
    if isinstance(node, ir.Convolution):
        yield from (f"kernel {size}" for size in node.kernel)
        yield from (f"stride {size}" for size in node.stride)
        top, left, bottom, right = node.padding
        yield "padding of one side only" if (top, left) != (bottom, right) else "same"
        yield "padding" if any(node.padding) else "no padding"
        yield "odd size" if node.shape[1] % 2 and node.shape[1] > 1 else "even size"
    elif isinstance(node, ir.LearnedActivation):
        yield f"{len(node.basis)} activation planes"
        yield "codes in {-1,+1}" if node.encoding is ir.Encoding.SIGNED else "codes in {0,1}"
        if (np.diff(node.basis) < 0).any():
            yield "unordered basis"
    elif isinstance(node, ir.BatchNorm):
        if (node.scale < 0).any():
            yield "negative batch-norm scale"
        if isinstance(graph.node(node.inputs[0]), ir.MaxPool):
            yield "max-pool before batch-norm"
    elif isinstance(node, ir.MaxPool) and node.window != node.stride:
        yield "overlapping pool"
    elif isinstance(node, ir.GlobalAveragePool):
        yield "global average pool"
    elif isinstance(node, ir.AveragePool):
        yield "halved residual"
    elif isinstance(node, ir.Add):
        yield "residual"
    elif isinstance(node, ir.Concat):
        yield "concatenation"


def weight_features(node: ir.Convolution | ir.Linear, graph: Graph) -> Iterator[str]:
    first = isinstance(graph.node(node.inputs[0]), ir.Image)
    if isinstance(node.weights, ir.QuantizedWeights):
        yield f"{len(node.weights.planes)} weight planes"
        if first:
            yield "quantized weights in the first layer"
    elif isinstance(node, ir.Linear):
        yield "float weights in the last layer"


def test_random_models_are_equal_on_the_rtl(tmp_path: Path) -> None:
    cases: list[Case] = []
    reached: Counter[str] = Counter()
    refused: list[str] = []
    for seed in SEEDS:
        graph = import_bytes(model_bytes(random_model(seed, LIMITS)))
        network = lower(graph)
        try:
            program = compile_network(network, TINY)
        except ProgramError as error:
            refused.append(f"seed {seed}: {error}")
            continue
        images = random_images(program.image_shape, 1)
        expected = expected_arrays(network, images.pixels)
        name = f"seed {seed}"
        cases.append(Case(program=program, images=images, expected=expected, model=name))
        reached.update(features(graph))
    assert len(cases) >= LEAST_EXACT, refused
    for text in refused:
        assert any(re.search(reason, text) for reason in REFUSALS), text
    missing = [feature for feature in FEATURES if not reached[feature]]
    assert not missing, dict(reached)
    bench = Bench(
        config=TINY,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=tmp_path / "verilog"),
        out=tmp_path,
        console=Console(file=io.StringIO(), width=160),
    )
    for report in cosimulate_all(bench, cases, waves=False):
        assert report.passed, report
        assert report.images == 1
        assert report.values_compared > 0
