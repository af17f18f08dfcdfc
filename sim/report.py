"""The result of a co-simulation: for people as tables, for scripts as ``report.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compiler.program import LayerInfo, Program
from hw.config import AcceleratorConfig
from hw.isa import Counter

from .check import LOGITS, Mismatch
from .job import ImageResult

__all__ = [
    "LAYER_WIDTH",
    "REPORT_FILE",
    "LayerReport",
    "Report",
    "make_report",
    "print_report",
]

LAYER_WIDTH = 24
"""Longest name of a layer that is printed in full, so that numbers keep their room."""

REPORT_FILE = "report.json"
SHOWN_PREDICTIONS = 16
"""Images whose predicted classes are printed one by one."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One line of the layer table, over all images."""

    name: str
    shape: tuple[int, int, int]
    """Height, width, channels of the output."""
    widths: str
    """Weight and activation bits: "W2 A2"."""
    cycles: int
    """Mean of the images."""
    utilization: float
    """Binary multiply-accumulates done, as a share of what the array can do in the cycles."""
    values_compared: int
    values_mismatched: int


@dataclass(kw_only=True)
class Report:
    """Everything that ``report.json`` holds."""

    model: str
    preset: str
    simulator: str
    images: int
    """Images that were simulated to the end."""
    values_compared: int
    values_mismatched: int
    cycles: int
    """Of a run: an image, or a batch of them."""
    clock_mhz: float
    """Clock that the preset asks for on a board."""
    utilization: float
    simulated_cycles_per_second: float
    labels: list[int | None]
    """Class of each image, where it is known."""
    predictions_rtl: list[int]
    predictions_golden: list[int]
    class_names: list[str]
    counters: dict[str, int]
    """Performance counters of the last image, by lower-case name."""
    layers: list[LayerReport]
    logits_mismatched: int
    """Words that the host read back and that differ."""
    mismatch: str | None = None
    """The first element that differs."""
    cycle_difference: str | None = None
    """Where the cycle model differs from the RTL, if it does."""
    error: str | None = None
    """A trap or a time-out."""
    waveform: str | None = None
    """File that shows the cycles around the mismatch or error."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step."""
    batch: int = 1
    """Images of a run."""

    @property
    def cycles_per_image(self) -> int:
        return round(self.cycles / self.batch)

    @property
    def passed(self) -> bool:
        """Every value was compared and equal, and every run ended regularly, when predicted."""
        return (
            self.values_mismatched == 0
            and self.error is None
            and self.cycle_difference is None
            and self.images > 0
        )

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` in one step; its path."""
        path = folder / REPORT_FILE
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        content = asdict(self) | {
            "cycles_per_image": self.cycles_per_image,
            "passed": self.passed,
        }
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        temporary.replace(path)
        return path


def _layer_report(
    info: LayerInfo, entries: list[dict[str, Any]], config: AcceleratorConfig
) -> LayerReport:
    cycles = sum(entry["cycles"] for entry in entries)
    capacity = cycles * config.array.binary_macs_per_cycle
    return LayerReport(
        name=info.name,
        shape=info.output_shape,
        widths=f"{info.weight_label} {info.source_label}".strip(),
        cycles=round(cycles / max(1, len(entries))),
        utilization=info.binary_macs * len(entries) / capacity if capacity else 0.0,
        values_compared=sum(entry["values_compared"] for entry in entries),
        values_mismatched=sum(entry["values_mismatched"] for entry in entries),
    )


def _class(logits: Iterable[int]) -> int:
    """Index of the largest logit, the first of equals; -1 without logits."""
    values = list(logits)
    return values.index(max(values)) if values else -1


def _classes(runs: Iterable[Iterable[int]], program: Program) -> list[int]:
    """The class of every image of the runs, whose logits follow one another."""
    classes = []
    for logits in runs:
        values, count = list(logits), program.result_count
        for image in range(program.images):
            classes.append(_class(values[image * count : (image + 1) * count]))
    return classes


def make_report(
    program: Program,
    config: AcceleratorConfig,
    results: list[ImageResult],
    *,
    model: str,
    simulator: str,
    labels: Iterable[int | None],
    golden_logits: Iterable[Iterable[int]],
) -> Report:
    """The report of finished runs.

    ``labels`` are those of all images, ``golden_logits`` those of all runs. The last batch may
    have more images than there are labels.
    """
    layers = [
        _layer_report(info, [result.layers[index] for result in results], config)
        for index, info in enumerate(program.layers)
    ]
    everything = [entry for result in results for entry in result.layers]
    cycles = sum(result.cycles for result in results)
    capacity = cycles * config.array.binary_macs_per_cycle
    macs = sum(info.binary_macs for info in program.layers) * len(results)
    seconds = sum(result.seconds for result in results)
    known = list(labels)
    predictions = _classes((result.logits for result in results), program)[: len(known)]
    failed = next((result for result in results if result.mismatch or result.error), None)
    mismatch = None
    if failed and failed.mismatch:
        mismatch = f"image {failed.image}, {Mismatch(**failed.mismatch)}"
    last = results[-1].counters if results else []
    return Report(
        model=model,
        preset=config.name,
        simulator=simulator,
        images=min(len(known), program.images * sum(result.error is None for result in results)),
        values_compared=sum(entry["values_compared"] for entry in everything),
        values_mismatched=sum(entry["values_mismatched"] for entry in everything),
        cycles=round(cycles / max(1, len(results))),
        batch=program.images,
        clock_mhz=config.clock_mhz,
        utilization=macs / capacity if capacity else 0.0,
        simulated_cycles_per_second=cycles / seconds if seconds else 0.0,
        labels=known[: len(predictions)],
        predictions_rtl=predictions,
        predictions_golden=_classes(golden_logits, program)[: len(predictions)],
        class_names=list(program.labels),
        counters={
            counter.name.lower(): value for counter, value in zip(Counter, last, strict=False)
        },
        layers=layers,
        logits_mismatched=sum(
            entry["values_mismatched"] for entry in everything if entry["name"] == LOGITS
        ),
        mismatch=mismatch,
        error=f"image {failed.image}: {failed.error}" if failed and failed.error else None,
    )


def _mismatch_text(count: int) -> Text:
    return Text(f"{count:,}", style="bold red" if count else "green")


def _layer_table(report: Report) -> Table:
    title = f"{report.model} on {report.preset}, {report.simulator}"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", no_wrap=True, max_width=LAYER_WIDTH)
    table.add_column("output", justify="right", no_wrap=True)
    table.add_column("bits")
    for title in ("cycles", "used", "compared", "differ"):
        table.add_column(title, justify="right")
    for layer in report.layers:
        table.add_row(
            layer.name,
            "x".join(str(size) for size in layer.shape),
            layer.widths,
            f"{layer.cycles:,}",
            f"{layer.utilization:.1%}",
            f"{layer.values_compared:,}",
            _mismatch_text(layer.values_mismatched),
        )
    table.add_section()
    table.add_row(
        "total",
        "",
        "",
        f"{report.cycles:,}",
        f"{report.utilization:.1%}",
        f"{report.values_compared:,}",
        _mismatch_text(report.values_mismatched),
    )
    return table


def _name(report: Report, number: int | None) -> str:
    if number is None:
        return "?"
    if number < 0:
        return "none"
    return report.class_names[number] if number < len(report.class_names) else str(number)


def _prediction_table(report: Report) -> Table:
    table = Table(title="predicted classes", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("image", "RTL", "golden", "label"):
        table.add_column(title)
    rows = zip(report.predictions_rtl, report.predictions_golden, report.labels, strict=True)
    for index, (rtl, golden, label) in enumerate(rows):
        if index == SHOWN_PREDICTIONS:
            break
        style = "" if rtl == golden else "bold red"
        table.add_row(
            str(index),
            Text(_name(report, rtl), style=style),
            _name(report, golden),
            _name(report, label),
        )
    return table


def print_report(report: Report, console: Console) -> None:
    """Tables, totals and the verdict. "used" is the utilization of the array."""
    console.print(_layer_table(report))
    console.print(_prediction_table(report))
    known = [
        (rtl, label)
        for rtl, label in zip(report.predictions_rtl, report.labels, strict=True)
        if label is not None
    ]
    if known:
        right = sum(rtl == label for rtl, label in known)
        console.print(f"{right} of {len(known)} images are classified as labelled")
    microseconds = report.cycles / report.batch / report.clock_mhz
    of_batch = f" ({report.cycles:,} for {report.batch})" if report.batch > 1 else ""
    console.print(
        f"{report.cycles_per_image:,} cycles per image{of_batch}: {microseconds / 1000:.2f} ms at "
        f"{report.clock_mhz:g} MHz; simulated at "
        f"{report.simulated_cycles_per_second:,.0f} cycles/s"
    )
    steps = ", ".join(f"{name} {value:.1f} s" for name, value in report.seconds.items())
    console.print(f"wall time: {steps}")
    if report.error:
        console.print(Text(f"ERROR: {report.error}", style="bold red"))
    if report.mismatch:
        console.print(Text(f"FIRST MISMATCH: {report.mismatch}", style="bold red"))
    if report.cycle_difference:
        console.print(Text(f"CYCLE MODEL DIFFERS: {report.cycle_difference}", style="bold red"))
    if report.waveform:
        console.print(f"waveform: {report.waveform} (make waves opens it)")
    if report.passed:
        console.print(
            Text(
                f"PASSED: all {report.values_compared:,} values are equal, bit for bit",
                style="bold green",
            )
        )
    else:
        console.print(
            Text(
                f"FAILED: {report.values_mismatched:,} of {report.values_compared:,} values differ",
                style="bold red",
            )
        )
