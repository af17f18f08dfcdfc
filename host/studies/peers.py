"""SCALE-Sim and ZigZag on the shapes of ResNet-20's layers: cycles, and time for an answer."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from rich.console import Console

from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import AcceleratorConfig, preset
from sim import scale_sim, zigzag
from sim.explore.evaluation import evaluate
from sim.explore.store import source_hash
from sim.peer_tools import call
from sim.profile import Clock

from .findings import Findings, Table
from .networks import profile_network

__all__ = ["MODEL", "run"]

MODEL = Path("models/resnet20-cifar10-w2a2.onnx")
PRESET = "ulx3s-85f"
REPEATS = 5
"""Evaluations by the cycle model, of which the mean counts."""
NO_CLOCK = Clock(mhz=1.0, is_routed=False, source="none")
OURS = "cycle model"


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a tool says of the layers with weights."""

    cycles: tuple[int, ...]
    seconds: float
    """Of CPU, which another job on the machine does not lengthen, without the time that its
    process takes to start and to import."""


def run(work: Path, console: Console, *, model: Path = MODEL) -> Findings:
    """Cycles by layer of the shipped ResNet-20, W2A2, and the seconds until each tool says them."""
    network = lower(import_model(model))
    with console.status(f"{model.stem} in all tools, some minutes ..."):
        answers = _answers(network, preset(PRESET), work)
    truth = answers[OURS]
    rows = []
    for tool, answer in answers.items():
        errors = [
            abs(said / true - 1) for said, true in zip(answer.cycles, truth.cycles, strict=True)
        ]
        total = sum(answer.cycles) / sum(truth.cycles) - 1
        shares = (f"{total:+.0%}", f"{median(errors):.0%}", f"{max(errors):.0%}")
        rows.append(
            (
                tool,
                f"{sum(answer.cycles):,}",
                *(("0", "0", "0") if tool == OURS else shares),
                f"{answer.seconds:.3f}" if answer.seconds < 1 else f"{answer.seconds:.1f}",
            )
        )
    headings = (
        *("tool", "cycles", "error of the sum", "median error of a layer", "largest error"),
        "CPU seconds for an answer",
    )
    names = [shape.name for shape in zigzag.shapes(network)]
    return Findings(
        tables=[
            Table(name="peers", headings=headings, rows=rows),
            _layer_table(names, answers),
        ],
        figures={"peers": _figure(names, answers)},
        origin=f"{scale_sim.REQUIREMENTS[0]}, {zigzag.REQUIREMENTS[0]}, sources "
        f"{source_hash()[:8]}",
    )


def _answers(network: IntegerNetwork, config: AcceleratorConfig, work: Path) -> dict[str, _Answer]:
    profile = profile_network(network, config, "network", NO_CLOCK)
    cycles = {layer.name: layer.cycles for layer in profile.layers}
    shapes = zigzag.shapes(network)
    start = time.process_time()
    for _ in range(REPEATS):
        evaluate(network, config)
    seconds = (time.process_time() - start) / REPEATS
    answers = {OURS: _Answer(cycles=tuple(cycles[shape.name] for shape in shapes), seconds=seconds)}
    python = zigzag.install(work / "zigzag")
    imports = _import_seconds(python, "zigzag.api")
    start = _child_seconds()
    result = zigzag.run(python, shapes, config, work / "zigzag-files")
    seconds = _child_seconds() - start - imports
    answers["ZigZag"] = _Answer(cycles=result.layer_cycles, seconds=seconds)
    answers["ZigZag, inputs loaded ahead"] = _Answer(cycles=result.inner_cycles, seconds=seconds)
    python = scale_sim.install(work / "scale-sim")
    imports = _import_seconds(python, "scalesim.scale_sim")
    for dataflow, name in (("ws", "weights stay"), ("os", "outputs stay")):
        answers[f"SCALE-Sim, {name}"] = _scale_sim(
            python, network, config, work / f"scale-sim-{dataflow}", dataflow, imports
        )
    return answers


def _scale_sim(
    python: Path,
    network: IntegerNetwork,
    config: AcceleratorConfig,
    work: Path,
    dataflow: str,
    imports: float,
) -> _Answer:
    """Layers with as many pairs of planes go to one array of whole-number elements, with as many
    MACs per cycle as this array has at these planes, and its rows as SCALE-Sim's columns: both are
    filters."""
    pairs = {s.name: s.weight_planes * s.activation_planes for s in zigzag.shapes(network)}
    groups: dict[int, list[scale_sim.Topology]] = defaultdict(list)
    for row in scale_sim.topology(network):
        groups[pairs[str(row[0])]].append(row)
    cycles: dict[str, int] = {}
    start = _child_seconds()
    for count, rows in groups.items():
        filters = config.array.rows
        height = max(1, config.array.binary_macs_per_cycle // (count * filters))
        result = scale_sim.run_topology(
            python,
            rows,
            rows=height,
            columns=filters,
            folder=work / f"{count}-pairs",
            dataflow=dataflow,
        )
        cycles |= zip((str(row[0]) for row in rows), result.layer_cycles, strict=True)
    seconds = _child_seconds() - start - len(groups) * imports
    return _Answer(cycles=tuple(cycles[name] for name in pairs), seconds=seconds)


def _import_seconds(python: Path, module: str) -> float:
    """CPU seconds of a process that does nothing but import a tool."""
    start = _child_seconds()
    call([str(python), "-c", f"import {module}"], Path())
    return _child_seconds() - start


def _child_seconds() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def _layer_table(names: Sequence[str], answers: dict[str, _Answer]) -> Table:
    rows = [
        (name, *(f"{answer.cycles[index]:,}" for answer in answers.values()))
        for index, name in enumerate(names)
    ]
    return Table(name="layers", headings=("layer", *answers), rows=rows)


def _figure(names: Sequence[str], answers: dict[str, _Answer]) -> Figure:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(answers)
    for number, (tool, answer) in enumerate(answers.items()):
        places = [index + (number - (len(answers) - 1) / 2) * width for index in range(len(names))]
        label = f"{tool}: {sum(answer.cycles):,} cycles, {answer.seconds:.2f} s"
        axes.bar(places, answer.cycles, width, label=label, color=f"C{number}")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(yscale="log", ylabel="cycles")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
