"""The same convolution shapes in ZigZag, on the nearest description of this array that it takes.

ZigZag computes latencies of loop nests on an array with a hierarchy of memories, and looks for the
best order of the loops. It is told of this accelerator: an operation is a binary MAC, the planes of
weights and activations are loops like any other, and the memories have the sizes and the ports of
the gateware. It has no words for instructions, tables, the drain of the counters through the basis
multipliers, and what comes behind the accumulators.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw.config import AcceleratorConfig

from . import peer_tools
from .peer_tools import PeerError, call

__all__ = ["REQUIREMENTS", "Shape", "ZigZagResult", "accelerator", "install", "run", "shapes"]

REQUIREMENTS = ("zigzag-dse==3.9.1", "six==1.17.0")
"""ZigZag 3.9.1 imports six without asking for it."""
ACCUMULATOR_BITS = 18
"""Of a result on its way to the stream memory."""
DRIVER = """
import json, sys
from zigzag.api import get_hardware_performance_zigzag
_, _, results = get_hardware_performance_zigzag(
    "workload.yaml", "accelerator.yaml", "mapping.yaml",
    opt="latency", dump_folder="results", loma_show_progress_bar=False,
)
layers = [one for one, _ in results[0][1]]
print(json.dumps([[one.layer.name, one.latency_total2, one.latency_total0] for one in layers]))
"""
LINKS = {"O": "O", "W": "I2", "I": "I1"}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A convolution and its planes."""

    name: str
    channels: int
    filters: int
    output: tuple[int, int]
    """Height and width."""
    source: tuple[int, int]
    """Height and width of the input, without padding."""
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int, int, int]
    """Top, left, bottom, right."""
    weight_planes: int
    activation_planes: int


@dataclass(frozen=True)
class ZigZagResult:
    """One run over all layers."""

    seconds: float
    """Wall time of its process."""
    layer_cycles: tuple[int, ...]
    """With the loading of the input before, and the result behind."""
    inner_cycles: tuple[int, ...]
    """Without: as if the next layer's input were loaded while this one is computed."""


def shapes(network: IntegerNetwork) -> list[Shape]:
    """The convolutions of a network, a fully connected layer being one of 1 x 1 pixels."""
    return [_shape(layer) for layer in network.layers if isinstance(layer, ConvolutionLayer)]


def install(folder: Path) -> Path:
    """The Python of a virtual environment with ZigZag, made in ``folder`` on first use."""
    return peer_tools.install(folder, REQUIREMENTS)


def run(
    python: Path, layers: Sequence[Shape], config: AcceleratorConfig, folder: Path
) -> ZigZagResult:
    """Evaluate convolutions.

    Raises:
        PeerError: It fails, or reports other layers than these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "accelerator": accelerator(config),
        "workload": [_workload(number, layer) for number, layer in enumerate(layers)],
        "mapping": [_mapping(layer, config) for layer in layers]
        + [{"name": "default", "spatial_mapping": {}, "memory_operand_links": LINKS}],
    }
    for name, content in contents.items():  # JSON is YAML
        (folder / f"{name}.yaml").write_text(json.dumps(content, indent=1))
    start = time.perf_counter()
    output = call([str(python), "-c", DRIVER], folder)
    seconds = time.perf_counter() - start
    table = json.loads(output.strip().splitlines()[-1])
    names = [name for name, *_ in table]
    if names != [layer.name for layer in layers]:
        raise PeerError(f"ZigZag must report {len(layers)} layers in order, not {names}")
    return ZigZagResult(
        seconds,
        tuple(round(cycles) for _, cycles, _ in table),
        tuple(round(inner) for *_, inner in table),
    )


def accelerator(config: AcceleratorConfig) -> dict[str, Any]:
    """The array and its memories in ZigZag's terms: D1 are rows, D2 columns, D3 lanes."""
    array, memory = config.array, config.memory
    rows, columns, lanes, word = array.rows, array.columns, array.lanes, array.word_width
    drained = rows * array.drain_lanes * ACCUMULATOR_BITS
    vector = rows * ACCUMULATOR_BITS
    memories = {
        "accumulators": _memory(
            ACCUMULATOR_BITS,
            ["O"],
            {"tl": ACCUMULATOR_BITS, "th": ACCUMULATOR_BITS},
            {"fh": ACCUMULATOR_BITS, "fl": ACCUMULATOR_BITS},
            ["D3"],
        ),
        "columns": _memory(
            2 * memory.column_granules * rows * columns,
            ["I1"],
            {"tl": lanes * columns},
            {"fh": word},
            ["D1", "D2", "D3"],
        ),
        "weights": _memory(
            memory.weight_words * lanes * rows,
            ["I2"],
            {"tl": lanes * rows},
            {"fh": word},
            ["D1", "D2", "D3"],
        ),
        "activations": _memory(
            memory.activation_words * word, ["I1"], {"tl": word}, {"fh": word}, ["D1", "D2", "D3"]
        ),
        "streams": _memory(
            memory.stream_vectors * vector,
            ["O"],
            {"tl": vector, "th": vector},
            {"fh": drained, "fl": drained},
            ["D1", "D2", "D3"],
        ),
    }
    sizes = [rows, columns, lanes]
    return {
        "name": config.name,
        "memories": memories,
        "operational_array": {
            "unit_energy": 0.0,
            "unit_area": 0.0,
            "dimensions": ["D1", "D2", "D3"],
            "sizes": sizes,
        },
    }


def _memory(
    bits: int,
    operands: list[str],
    reads: dict[str, int],
    writes: dict[str, int],
    served: list[str],
) -> dict[str, Any]:
    """A memory with a port for each direction in ``reads`` and ``writes``, bits per cycle."""
    ports = []
    for kind, directions in (("read", reads), ("write", writes)):
        for number, (direction, width) in enumerate(directions.items(), 1):
            ports.append(
                {
                    "name": f"{kind[0]}_port_{number}",
                    "type": kind,
                    "bandwidth_min": width,
                    "bandwidth_max": width,
                    "allocation": [f"{operand}, {direction}" for operand in operands],
                }
            )
    free = {"r_cost": 0.0, "w_cost": 0.0, "area": 0.0}
    return {
        "size": bits,
        **free,
        "latency": 1,
        "operands": operands,
        "ports": ports,
        "served_dimensions": served,
    }


def _shape(layer: ConvolutionLayer) -> Shape:
    height, width, channels = layer.input_shape
    out_height, out_width, filters = layer.convolution_shape
    weight_planes, _, *kernel = layer.weight_planes.shape
    return Shape(
        name=layer.name,
        channels=channels,
        filters=filters,
        output=(out_height, out_width),
        source=(height, width),
        kernel=(kernel[0], kernel[1]),
        stride=layer.stride[0],
        padding=layer.padding,
        weight_planes=weight_planes,
        activation_planes=layer.coefficients.shape[3],
    )


def _workload(number: int, layer: Shape) -> dict[str, Any]:
    top, left, bottom, right = layer.padding
    return {
        "id": number,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": "O[k][oy][ox]+=W[k][c][fy][fx][p]*I[c][iy][ix][q]",
        "dimension_relations": [
            f"ix={layer.stride}*ox+1*fx",
            f"iy={layer.stride}*oy+1*fy",
        ],
        "loop_dims": ["K", "C", "OY", "OX", "FY", "FX", "P", "Q"],
        "loop_sizes": [
            *(layer.filters, layer.channels, *layer.output, *layer.kernel),
            *(layer.weight_planes, layer.activation_planes),
        ],
        "operand_precision": {
            "W": 1,
            "I": 1,
            "O": ACCUMULATOR_BITS,
            "O_final": ACCUMULATOR_BITS,
        },
        "operand_source": {"I": number, "W": number},
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [layer.source[1], layer.source[0]],
        "padding": [[left, right], [top, bottom]],
    }


def _mapping(layer: Shape, config: AcceleratorConfig) -> dict[str, Any]:
    """Channels on rows, pixels on columns, and what fills the lanes best."""
    array = config.array
    lanes = max(
        (
            (channels, kernel_x, kernel_y)
            for channels in _divisors(layer.channels)
            for kernel_x in (layer.kernel[1], 1)
            for kernel_y in (1, layer.kernel[0])
            if channels * kernel_x * kernel_y <= array.lanes
        ),
        key=prod,
    )
    return {
        "name": layer.name,
        "spatial_mapping": {
            "D1": [f"K, {min(array.rows, layer.filters)}"],
            "D2": [f"OX, {min(array.columns, layer.output[1])}"],
            "D3": [f"{name}, {size}" for name, size in zip(("C", "FX", "FY"), lanes, strict=True)],
        },
        "memory_operand_links": LINKS,
    }


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]
