"""From a configuration to a mapped netlist: elaborate, synthesise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from host.bitstream_report import CONTAINERS, load_json, module_paths, read_statistics
from host.tools import StageDisplay, ToolError, ToolRunner
from hw.board.ulx3s import Board, UlxTop
from hw.config import AcceleratorConfig
from hw.rtlil import ignore_collisions, keep_hierarchy, merge_equal_modules, remove_brackets

__all__ = [
    "KEPT_INSTANCES",
    "MEMORY_PREPARATION",
    "STATISTICS",
    "SYNTHESIS_OPTIONS",
    "TABLE_ROWS",
    "TOP",
    "CoreFactory",
    "board_core",
    "elaborate",
    "synthesise",
]

TOP = "top"
SYNTHESIS_OPTIONS = ("-nowidelut",)
"""Wide multiplexers out of LUT pairs cost a third more LUTs in the compressor trees."""

KEPT_INSTANCES = 4
"""Modules with as many instances, and the parts of the core, are mapped once and by themselves. The
whole design in one piece ends ABC9 on the largest preset, and takes three times as long on others;
each module costs ABC9 about a second, so the small ones are dissolved."""

TABLE_ROWS = r"row_\d+"
"""Memories of ``hw.compute.tables.RowTable``. A program never loads a table's word in the cycle in
which it is used, and what is read then for nobody may be anything."""

MEMORY_PREPARATION = f"hierarchy -top {TOP}; proc; memory_nordff */m:* */m:row_* %d"
"""Takes the output registers off the memories but tables, so that synthesis puts them back itself.
Only then does it look whether reads and writes exclude each other, which a dual-port block RAM with
two read and two write ports needs; without it such a memory becomes flip-flops."""

STATISTICS = "yosys.stat.json"
"""File of the mapped cells, by module."""

CoreFactory = Callable[[AcceleratorConfig, int], wiring.Component]
"""Makes the component behind the pins from the configuration and the build hash."""


def board_core(config: AcceleratorConfig, hash_: int) -> wiring.Component:
    """The accelerator behind the serial link."""
    from hw.board.core import BoardCore

    return BoardCore(config, build=hash_)


def elaborate(
    display: StageDisplay,
    target: Board,
    config: AcceleratorConfig,
    core: CoreFactory,
    hash_: int,
    work: Path,
) -> frozenset[str]:
    """Write the design and its pins; returns the paths of all modules."""
    with display.stage("elaboration") as stage:
        top = UlxTop(
            core(config, hash_), clock_mhz=config.clock_mhz, oscillator_mhz=target.oscillator_mhz
        )
        plan = target.make_platform().prepare(top, TOP, emit_src=False)
        for suffix in (".il", ".lpf"):
            content = plan.files[TOP + suffix]
            content = content if isinstance(content, bytes) else content.encode()
            (work / (TOP + suffix)).write_bytes(content)
        text = remove_brackets((work / f"{TOP}.il").read_text(encoding="utf-8"))
        paths = module_paths(text, TOP)
        text = ignore_collisions(merge_equal_modules(text), re.compile(TABLE_ROWS))
        text = keep_hierarchy(text, _is_part, KEPT_INSTANCES)
        (work / f"{TOP}.il").write_text(text, encoding="utf-8")
        stage.news = f"{len(paths)} modules"
    return paths


def _is_part(module: str) -> bool:
    """Whether a module is a container or a direct part of one."""
    first, *rest = module.removeprefix(f"{TOP}.").split(".")
    return all(name in CONTAINERS for name in (first, *rest[:-1]))


def synthesise(
    display: StageDisplay, tools: ToolRunner, target: Board, *, netlist: bool = True
) -> None:
    """Map the elaborated design; ``yosys.stat.json`` counts its cells, by module.

    Raises :class:`ToolError` if the result does not fit the device.

    Args:
        display: Shows the stage.
        tools: In the folder of the elaborated design.
        target: Board.
        netlist: Write the netlist, too, for place and route.
    """
    options = " ".join(SYNTHESIS_OPTIONS)
    script = (
        f"read_rtlil {TOP}.il; {MEMORY_PREPARATION}; "
        f"synth_ecp5 {options} -top {TOP}; tee -q -o {STATISTICS} stat -json; "
    )
    if netlist:
        script += f"setattr -mod -unset keep_hierarchy *; flatten; write_json {TOP}.json"
    with display.stage("synthesis") as stage:
        tools.run("yosys", ["-p", script], stage=stage, log="yosys.log")
        needs = read_statistics(load_json(tools.folder / STATISTICS))
        available = {
            "LUT4": target.lut4,
            "FF": target.lut4,
            "block RAM": target.block_rams,
            "multiplier": target.multipliers,
        }
        stage.news = ", ".join(f"{needs[name]} of {available[name]} {name}" for name in needs)
        if any(needs[name] > available[name] for name in needs):
            raise ToolError(f"design must fit {target.name}, but it needs {stage.news}")
