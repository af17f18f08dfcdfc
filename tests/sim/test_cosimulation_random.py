"""Random models on the RTL of ``tiny``: all legal features are reached, and all values equal."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from golden import graph as ir
from golden.export import model_bytes
from golden.graph import Graph
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from sim.__main__ import main

LIMITS = RandomLimits(image=(5, 11), channels=11, blocks=(1, 2))
EXAMPLES = 40
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: the RTL is compiled once."""
    return tmp_path_factory.mktemp("random")


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


def test_random_models_are_equal_on_the_rtl(folder: Path) -> None:
    reached: Counter[str] = Counter()
    refused: list[str] = []
    exact = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        # A smaller seed is not a smaller model.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def run(seed: int) -> None:
        nonlocal exact
        content = model_bytes(random_model(seed, LIMITS))
        model = folder / "random.onnx"
        model.write_bytes(content)
        (folder / "report.json").unlink(missing_ok=True)
        arguments = [str(model), "--preset", "tiny", "--out", str(folder), "--limit", "1"]
        result = CliRunner(env={"SIM": "verilator", "COLUMNS": "160"}).invoke(main, arguments)
        if result.exit_code and not (folder / "report.json").exists():
            refused.append(f"seed {seed}: {result.output}")
            return
        assert result.exit_code == 0, f"seed {seed}\n{result.output}"
        report = json.loads((folder / "report.json").read_text())
        assert report["passed"], seed
        assert report["values_compared"] > 0, seed
        assert report["values_mismatched"] == 0, seed
        exact += 1
        reached.update(features(import_bytes(content)))

    run()
    assert exact >= LEAST_EXACT, refused
    for text in refused:
        assert any(re.search(reason, text) for reason in REFUSALS), text
    missing = [feature for feature in FEATURES if not reached[feature]]
    assert not missing, dict(reached)
