"""The prefixes of a model's weight planes, measured: accuracy in integers, cycles, words."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from compiler.compile import compile_network
from compiler.program import Program
from golden.integer_network import IntegerNetwork
from golden.integer_reference import classify
from host.labelled_images import LabelledImages
from hw.config import AcceleratorConfig
from sim.bench import OUT, VERILOG_FOLDER, Bench, make_simulator
from sim.cosimulation import cosimulate
from sim.cycles.model import run_program
from sim.design import cached_verilog
from sim.images import ImageSet
from sim.reference import expected_arrays
from sim.report import Report

__all__ = ["PrefixResult", "Progression", "co_verify", "measure", "progression_table"]

BATCH = 100
Progress = Callable[[int], object]
"""Called with the images that are done since the last call."""


@dataclass(frozen=True)
class PrefixResult:
    """One prefix; shares are in 0..1."""

    planes: int
    accuracy: float
    agreement: float
    """Share of images to which all planes give the same class."""
    cycles: int
    words_alone: int
    """32-bit words that a program of its own needs."""


@dataclass(frozen=True)
class Progression:
    """All prefixes of a model on one configuration."""

    model: str
    preset: str
    clock_mhz: float
    images: int
    words: int
    """32-bit words of the program that has all prefixes."""
    prefixes: tuple[PrefixResult, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values for a report."""
        return asdict(self)


def measure(
    networks: Sequence[IntegerNetwork],
    program: Program,
    config: AcceleratorConfig,
    images: LabelledImages,
    *,
    model: str,
    progress: Progress = lambda done: None,
) -> Progression:
    """Accuracy of ``networks`` by the integer reference, cycles of ``program`` by the cycle model.

    Args:
        networks: In 1, 2, ... weight planes.
        program: Their program.
        config: Its configuration.
        images: Labelled images.
        model: Name for the report.
        progress: Called len(networks) times len(images) in all.
    """
    answers = []
    for network in networks:
        parts = []
        for start in range(0, len(images.pixels), BATCH):
            parts.append(classify(network, images.pixels[start : start + BATCH], BATCH))
            progress(len(parts[-1]))
        answers.append(np.concatenate(parts))
    return Progression(
        model=model,
        preset=config.name,
        clock_mhz=config.clock_mhz,
        images=len(images.pixels),
        words=program.load_words,
        prefixes=tuple(
            PrefixResult(
                planes=planes,
                accuracy=float((answer == images.labels).mean()),
                agreement=float((answer == answers[-1]).mean()),
                cycles=run_program(program.with_planes(planes), config).cycles,
                words_alone=compile_network(network, config).load_words,
            )
            for planes, (network, answer) in enumerate(zip(networks, answers, strict=True), 1)
        ),
    )


def co_verify(
    networks: Sequence[IntegerNetwork],
    program: Program,
    config: AcceleratorConfig,
    pixels: np.ndarray,
    out: Path = OUT,
) -> Report:
    """Run ``program``, loaded once, on the RTL: each image in each prefix, in turn.

    Compares all values with the prefix's integer reference and all cycles with the cycle model.
    """
    bench = Bench(
        config=config,
        simulator=make_simulator("verilator"),
        generate=partial(cached_verilog, cache=out / VERILOG_FOLDER),
        out=out,
        console=Console(file=io.StringIO()),
    )
    counts = [count for _ in pixels for count in range(len(networks), 0, -1)]
    repeated = np.repeat(pixels, len(networks), axis=0)
    expected = (
        next(iter(expected_arrays(networks[count - 1], repeated[index : index + 1])))
        for index, count in enumerate(counts)
    )
    images = ImageSet(
        pixels=repeated,
        names=tuple(str(index) for index in range(len(repeated))),
        labels=(None,) * len(repeated),
    )
    return cosimulate(bench, program, images, expected, planes=counts)


def progression_table(result: Progression) -> Table:
    """The prefixes as a table for the terminal."""
    table = Table(
        "weight planes",
        "accuracy",
        "as with all",
        "cycles",
        "images/s",
        "of all cycles",
        "words alone",
        title=f"{result.model} on {result.preset}, {result.images:,} images",
    )
    for column in table.columns:
        column.justify = "right"
    whole = result.prefixes[-1].cycles
    for prefix in result.prefixes:
        table.add_row(
            str(prefix.planes),
            f"{prefix.accuracy:.2%}",
            f"{prefix.agreement:.2%}",
            f"{prefix.cycles:,}",
            f"{result.clock_mhz * 1e6 / prefix.cycles:,.0f}",
            f"{prefix.cycles / whole:.0%}",
            f"{prefix.words_alone:,}",
        )
    table.caption = f"all prefixes together: {result.words:,} words; {result.clock_mhz:g} MHz"
    return table
