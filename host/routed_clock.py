"""The clock that a preset has on a board: routed if there is a bitstream's report, or asked for."""

from __future__ import annotations

from pathlib import Path

from host.bitstream_report import load_json
from hw.board.ulx3s import BOARDS
from hw.config import AcceleratorConfig
from sim.profile import Clock

__all__ = ["board_clock"]

BITSTREAMS = Path("build/bitstream")


def board_clock(config: AcceleratorConfig, folder: Path = BITSTREAMS) -> Clock:
    """The routed clock of the newest ``<folder>/<board>/report.json`` of a bitstream with this
    preset, or else the clock that the preset asks for.

    Raises:
        ValueError: A file is not such a report.
    """
    reports = [folder / name / "report.json" for name in BOARDS]
    reports = [path for path in reports if path.exists()]
    for path in sorted(reports, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            report = load_json(path)
            preset, reached = report["preset"], float(report["clock_reached_mhz"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must be the report of a bitstream: {error!r}") from error
        if preset == config.name:
            return Clock(mhz=reached, is_routed=True, source=str(path))
    return Clock(mhz=config.clock_mhz, is_routed=False, source=f"preset {config.name}")
