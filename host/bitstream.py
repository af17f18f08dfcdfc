"""From a preset to a bitstream: elaborate, synthesise, place and route, pack, report."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from host.bitstream_report import (
    BLOCK_RAM,
    FF,
    LUT4,
    MULTIPLIER,
    BitstreamReport,
    Timing,
    load_json,
    module_uses,
    placed_cells,
    read_timing,
    read_utilization,
)
from host.build_hash import build_hash, tool_versions
from host.floorplan import draw_floorplan
from host.spacers import SPACER_ROWS, add_spacers
from host.synthesis import TOP, CoreFactory, board_core, elaborate, synthesise
from host.tools import StageDisplay, ToolError, ToolRunner
from hw.board.clock import PllSettings
from hw.board.ulx3s import Board, board
from hw.config import AcceleratorConfig, ConfigError, preset

__all__ = ["TimingError", "build"]

PACKAGE, SPEED = "CABGA381", "6"
_SIZE_OPTIONS = {
    "LFE5U-12F": "--12k",
    "LFE5U-25F": "--25k",
    "LFE5U-45F": "--45k",
    "LFE5U-85F": "--85k",
}

_ALGORITHMS = ("--placer", "static", "--router", "router2")
"""What routes a large design at all: ``docs/decisions/0007-placer-and-router.md``."""


class TimingError(ToolError):
    """The placed design is slower than its clock."""


@dataclass(frozen=True)
class _Routed:
    """Result of one seed."""

    seed: int
    timing: Timing

    @property
    def margin(self) -> float:
        return self.timing.reached_mhz / self.timing.target_mhz


def build(
    board_name: str,
    preset_name: str | None = None,
    *,
    config: AcceleratorConfig | None = None,
    out: Path | None = None,
    seed: int = 1,
    seeds: int = 1,
    clock: float | None = None,
    core: CoreFactory | None = None,
    console: Console | None = None,
) -> BitstreamReport:
    """Make ``<out>/<board>.bit``, ``report.json``, ``report.txt`` and ``floorplan.png``.

    Intermediate files and logs go to ``<out>/work``. The four products appear only after all of
    them are made and the clock is met; the bitstream comes last. The same sources, tools, seed
    and options give the same bitstream, byte for byte.

    Args:
        board_name: Key of ``hw.board.ulx3s.BOARDS``.
        preset_name: Key of ``hw.config.PRESETS``; that of the board if None.
        config: What to build in place of a preset.
        out: Folder; ``build/bitstream/<board>`` if None.
        seed: First seed of the placer.
        seeds: Number of seeds to try, as many at once as there are cores; the fastest is kept.
        clock: Clock to ask for in MHz; that of the preset if None.
        core: Makes the design behind the pins; the accelerator if None.
        console: Where progress is shown; standard error if None.

    Raises:
        ConfigError: Unknown board or preset, unreachable clock, preset too large.
        ToolError: A tool is missing or failed.
        TimingError: No seed reached the clock.
    """
    start = time.monotonic()
    target = board(board_name)
    config = config or preset(preset_name or target.preset)
    if clock is not None:
        config = replace(config, clock_mhz=clock)
    if seeds < 1:
        raise ConfigError(f"number of seeds must be at least 1, not {seeds}")
    PllSettings.for_frequency(target.oscillator_mhz, config.clock_mhz)
    if core is None:
        _require_fit(target, config)
    out = out or Path("build/bitstream") / board_name
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    hash_ = build_hash(target, config)

    with StageDisplay(console) as display, ToolRunner(work, display) as tools:
        paths = elaborate(display, target, config, core or board_core, hash_, work)
        synthesise(display, tools, target)
        spacers = _leave_rows_free(work, target)
        results = _place_and_route(display, tools, target, config, range(seed, seed + seeds))
        best = max(results, key=lambda result: (result.margin, -result.seed))
        if not best.timing.met:
            raise TimingError(_timing_text(best.timing, seeds))
        with display.stage("bitstream") as stage:
            name = f"seed{best.seed}"
            tools.run(
                "ecppack",
                ["--compress", "--input", f"{name}.config", "--bit", f"{name}.bit"],
                stage=stage,
                log="ecppack.log",
            )
        with display.stage("report"):
            report = _report(target, board_name, config, results, best, paths, out, hash_, spacers)
            report = replace(report, seconds=round(time.monotonic() - start, 1))
            _publish(report, work, out, best.seed)
    return report


def _require_fit(target: Board, config: AcceleratorConfig) -> None:
    """Refuse what cannot fit before minutes are spent on it."""
    if config.multipliers > target.multipliers:
        raise ConfigError(
            f"preset {config.name} must need at most the {target.multipliers} multipliers of "
            f"{target.name}, not {config.multipliers}"
        )


def _leave_rows_free(work: Path, target: Board) -> int:
    """Add the device's spacers to the netlist; returns their number."""
    path = work / f"{TOP}.json"
    if target.device not in SPACER_ROWS:
        return 0
    netlist = load_json(path)
    count = add_spacers(netlist, TOP, target.device)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(netlist), encoding="utf-8")
    part.replace(path)
    return count


def _place_and_route(
    display: StageDisplay,
    tools: ToolRunner,
    target: Board,
    config: AcceleratorConfig,
    seeds: range,
) -> list[_Routed]:
    """All seeds, as many at once as there are cores."""

    def route(seed: int) -> _Routed:
        name = f"seed{seed}"
        with display.stage(f"place and route, seed {seed}") as stage:
            arguments = [_SIZE_OPTIONS[target.device], "--package", PACKAGE, "--speed", SPEED]
            arguments += ["--seed", str(seed), "--freq", f"{config.clock_mhz:g}", *_ALGORITHMS]
            arguments += ["--json", f"{TOP}.json", "--lpf", f"{TOP}.lpf", "--timing-allow-fail"]
            arguments += ["--textcfg", f"{name}.config", "--write", f"{name}.json"]
            arguments += ["--report", f"{name}.report.json"]
            tools.run("nextpnr-ecp5", arguments, stage=stage, log=f"{name}.log")
            timing = read_timing(load_json(tools.folder / f"{name}.report.json"))
            stage.news = f"{timing.reached_mhz:.1f} MHz of {timing.target_mhz:g} MHz"
        return _Routed(seed, timing)

    workers = min(len(seeds), os.cpu_count() or 1)
    executor = ThreadPoolExecutor(workers)
    try:
        return list(executor.map(route, seeds))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _timing_text(timing: Timing, seeds: int) -> str:
    slower = int(timing.reached_mhz // 5 * 5)
    return (
        f"clock must reach {timing.target_mhz:g} MHz, but the best of {seeds} "
        f"seed{'s' * (seeds > 1)} reached {timing.reached_mhz:.1f} MHz; critical path "
        f"{timing.path_text}. Try more seeds (--seeds {max(4, 2 * seeds)}) or a slower clock "
        f"(--clock {slower})"
    )


def _report(
    target: Board,
    board_name: str,
    config: AcceleratorConfig,
    results: list[_Routed],
    best: _Routed,
    paths: frozenset[str],
    out: Path,
    hash_: int,
    spacers: int,
) -> BitstreamReport:
    """Measure, and draw the floorplan into the work folder."""
    work, name = out / "work", f"seed{best.seed}"
    use = read_utilization(load_json(work / f"{name}.report.json"))
    cells = placed_cells(load_json(work / f"{name}.json"))
    draw_floorplan(
        work / "floorplan.png",
        cells,
        paths,
        device=target.device,
        title=f"{config.name} on {target.device}, {best.timing.reached_mhz:.1f} MHz",
    )
    bits = (work / f"{name}.bit").read_bytes()
    luts = use[LUT4]
    use[LUT4] = replace(luts, used=luts.used - spacers)
    kinds = {"lut4": LUT4, "ff": FF, "bram": BLOCK_RAM, "multipliers": MULTIPLIER}
    return BitstreamReport(
        board=board_name,
        device=target.device,
        preset=config.name,
        binary_macs_per_cycle=config.array.binary_macs_per_cycle,
        clock_target_mhz=best.timing.target_mhz,
        clock_reached_mhz=best.timing.reached_mhz,
        **{key: use[kind].used for key, kind in kinds.items()},
        available={key: use[kind].available for key, kind in kinds.items()},
        modules=module_uses(cells, paths),
        critical_path=best.timing,
        seed=best.seed,
        seeds={result.seed: result.timing.reached_mhz for result in results},
        build=f"{hash_:08x}",
        tools=tool_versions(),
        bitstream=str(out / f"{board_name}.bit"),
        bitstream_bytes=len(bits),
        bitstream_sha256=hashlib.sha256(bits).hexdigest(),
        seconds=0.0,
    )


def _publish(report: BitstreamReport, work: Path, out: Path, seed: int) -> None:
    """Move the products to their names, the bitstream last."""
    (work / "report.json").write_text(report.to_json(), encoding="utf-8")
    (work / "report.txt").write_text(report.to_text(), encoding="utf-8")
    for name in ("floorplan.png", "report.txt", "report.json"):
        os.replace(work / name, out / name)
    os.replace(work / f"seed{seed}.bit", report.bitstream)
