"""What is said of a network in full size: the RTL's cycles beside the model's, bounds, traffic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

from rich.table import Table

from compiler.program import Program
from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig
from hw.memory.packing import WORD

from .profile import Profile
from .report import Report
from .traffic import traffic_of, weight_bits

__all__ = [
    "LEGEND",
    "Figures",
    "Outcome",
    "figures_of",
    "figures_table",
    "load_figures",
    "save_summary",
    "write_text",
]

WORD_BYTES = WORD // 8
PIXEL_BITS = 8
"""Of each channel of the image."""
MEGABYTE = 10**6
LEGEND = (
    "array: of the cycles, those that a full array needs. of least: words moved over the port of "
    "the external memory, weights and outside tensors once being 1. of bound: cycles, the slower "
    "one of array and memory at their best being 1. bits: of all activation tensors, image "
    "included, for each bit of the weights. moved: words of activations and streams for each word "
    "of weights and other tables."
)
HEADINGS = (
    *("network", "preset", "values", "cycles", "images/s", "array", "MB/image", "of least"),
    *("of bound", "bits", "moved", "simulated", "cycles/s"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the RTL said of one program; it stays true while neither program nor design change."""

    name: str
    preset: str
    program: str
    """Hash of the program."""
    design: str
    """Hash of the Verilog."""
    error: str | None
    values: int
    """Compared with the integer reference."""
    mismatches: int
    cycles: int
    layer_cycles: list[int]
    counters: dict[str, int]
    seconds: float
    """Wall time of the simulation."""
    simulated_cycles_per_second: float

    @staticmethod
    def of_report(report: Report, *, name: str, program: str, design: str) -> Outcome:
        """The facts of a co-simulation with one run."""
        return Outcome(
            name=name,
            preset=report.preset,
            program=program,
            design=design,
            error=report.error,
            values=report.values_compared,
            mismatches=report.values_mismatched,
            cycles=report.cycles,
            layer_cycles=[layer.cycles for layer in report.layers],
            counters=report.counters,
            seconds=report.seconds.get("simulate", 0.0),
            simulated_cycles_per_second=report.simulated_cycles_per_second,
        )

    @staticmethod
    def load(path: Path) -> Outcome | None:
        """What :meth:`save` wrote; None if there is nothing, or something of another version."""
        try:
            return Outcome(**json.loads(path.read_text()))
        except (FileNotFoundError, TypeError):
            return None

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @property
    def is_equal(self) -> bool:
        """The run ended regularly, with every value equal."""
        return self.error is None and self.mismatches == 0 and self.values > 0

    def difference(self, profile: Profile) -> str | None:
        """Where the cycle model says something else, as text."""
        for layer, cycles in zip(profile.layers, self.layer_cycles, strict=True):
            if layer.cycles != cycles:
                return f"layer {layer.name} took {cycles:,} cycles, not {layer.cycles:,}"
        for counter, predicted in profile.counters.items():
            if self.counters[counter] != predicted:
                return f"counter {counter} was {self.counters[counter]:,}, not {predicted:,}"
        if self.cycles != profile.cycles:
            return f"the run took {self.cycles:,} cycles, not {profile.cycles:,}"
        return None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One line of the table."""

    name: str
    preset: str
    passed: bool
    """Values and predicted cycles are equal."""
    difference: str | None
    """What is not as predicted, or the error of the run."""
    values: int
    cycles: int
    images_per_second: float
    """At the clock that the preset asks for."""
    array: float
    """Cycles of a full array for all binary multiply-accumulates, as a share."""
    words: int
    """Over the port of the external memory, in a run."""
    least_words: int
    bound: float
    """Cycles for each that array or memory, whichever is slower, would take at best."""
    weight_bits: int
    activation_bits: int
    """Of all tensors that are written, and of the image."""
    activation_words: int
    """Of ``words``, those of activations and streams."""
    table_words: int
    """Of ``words``, those of weights and other tables."""
    seconds: float
    simulated_cycles_per_second: float
    moved: dict[str, int]
    """Words by what they are."""

    @property
    def traffic(self) -> float:
        """Words that are moved for each that must be."""
        return self.words / self.least_words

    @property
    def activations_per_weight(self) -> float:
        """Bits of activations for each bit of the weights."""
        return self.activation_bits / self.weight_bits

    @property
    def moved_activations_per_table(self) -> float | None:
        """The same of what is moved; None if no table is."""
        return self.activation_words / self.table_words if self.table_words else None

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    def cells(self) -> list[str]:
        """As text, in the order of :data:`HEADINGS`."""
        moved = self.moved_activations_per_table
        return [
            self.name,
            self.preset,
            f"{self.values:,} equal" if self.passed else "DIFFER",
            f"{self.cycles:,}",
            f"{self.images_per_second:.2f}",
            f"{self.array:.1%}",
            f"{self.words * WORD_BYTES / MEGABYTE:.1f}",
            f"{self.traffic:.2f}",
            f"{self.bound:.2f}",
            f"{self.activations_per_weight:.2f}",
            "" if moved is None else f"{moved:.2f}",
            f"{self.seconds:.0f} s",
            f"{self.simulated_cycles_per_second:,.0f}",
        ]


def figures_of(
    outcome: Outcome,
    *,
    network: IntegerNetwork,
    program: Program,
    config: AcceleratorConfig,
    profile: Profile,
) -> Figures:
    """The line of one case.

    Args:
        outcome: Of ``program`` on the RTL of ``config``.
        network: What the program computes.
        program: The program.
        config: Sizes.
        profile: Of the program, by the cycle model.
    """
    traffic = traffic_of(program, network, config)
    cycles = outcome.cycles
    macs = sum(layer.binary_macs for layer in program.layers)
    ideal = macs / config.array.binary_macs_per_cycle
    word_cycles = WORD_BYTES / profile.port_bytes_per_cycle
    difference = outcome.error or outcome.difference(profile)
    return Figures(
        name=outcome.name,
        preset=outcome.preset,
        passed=outcome.is_equal and difference is None,
        difference=difference,
        values=outcome.values,
        cycles=cycles,
        images_per_second=config.clock_mhz * 1e6 * program.images / cycles if cycles else 0.0,
        array=ideal / cycles if cycles else 0.0,
        words=traffic.total,
        least_words=traffic.least,
        bound=cycles / max(ideal, word_cycles * traffic.least),
        weight_bits=weight_bits(network),
        activation_bits=_activation_bits(program),
        activation_words=traffic.activations,
        table_words=traffic.tables,
        seconds=outcome.seconds,
        simulated_cycles_per_second=outcome.simulated_cycles_per_second,
        moved=traffic.moved,
    )


def _activation_bits(program: Program) -> int:
    tensors = sum(
        tensor.height * tensor.width * tensor.channels * tensor.planes for tensor in program.tensors
    )
    return PIXEL_BITS * program.images * prod(program.image_shape) + tensors


def figures_table(entries: Iterable[Figures]) -> Table:
    """One line for each case."""
    table = Table(*HEADINGS, box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for entry in entries:
        table.add_row(*entry.cells(), style="" if entry.passed else "red")
    return table


def load_figures(path: Path) -> Figures | None:
    """What was saved of a case; None if there is nothing, or something of another version."""
    try:
        return Figures(**json.loads(path.read_text()))
    except (FileNotFoundError, TypeError):
        return None


def save_summary(entries: Sequence[Figures], path: Path) -> None:
    """Write the table as a Markdown document, in one step."""
    lines = [
        "# Networks in full size on the RTL",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "---:|" * (len(HEADINGS) - 2),
        *("| " + " | ".join(entry.cells()) + " |" for entry in entries),
        "",
        LEGEND,
    ]
    write_text(path, "\n".join(lines) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text)
    temporary.replace(path)
