"""What the two Verilog simulators have in common: a cached build, and runs of the test bench."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .job import MEMORY_FILE, folders_in_environment
from .monitor import TOP, write_design

if TYPE_CHECKING:
    from cocotb_tools.runner import Runner

__all__ = ["BUILD_LOG", "RUN_LOG", "Simulator", "SimulatorError"]

BUILD_LOG = "build.log"
RUN_LOG = "simulator.log"
TEST_MODULE = "sim.testbench"
NO_REWRITING = {"COCOTB_REWRITE_ASSERTION_FILES": ""}
"""cocotb would let pytest compile all modules that the test bench imports, for details of failed
assertions: in every run, where Python must not write byte code."""
KEY_DIGITS = 12
LOG_LINES = 15


class SimulatorError(RuntimeError):
    """A simulator that is missing, or a build or run that failed; the text says what to do."""


@contextmanager
def _own_settings() -> Iterator[None]:
    """Hide the variables by which a surrounding shell or pytest steers cocotb's runner."""
    names = ("WAVES", "GUI", "PYTEST_CURRENT_TEST", "COCOTB_TEST_FILTER", "MAKEFLAGS")
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)


def tail(path: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log file, for an error message."""
    if not path.exists():
        return "(no log)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Simulator(ABC):
    """One simulator program with its options."""

    waves: bool = False
    """Build with waveform output: slower, used to look at a failure."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name for folders and reports."""

    @property
    @abstractmethod
    def event_driven(self) -> bool:
        """The simulator runs a block only when something that it reads changes."""

    @property
    @abstractmethod
    def wave_file(self) -> str:
        """Name of the waveform file that a build with ``waves`` leaves in the run folder."""

    @abstractmethod
    def check(self) -> None:
        """Raise :class:`SimulatorError` with the way to install it, if the program is missing."""

    @abstractmethod
    def options(self) -> list[str]:
        """Options of the compiler; a change makes a new build."""

    @abstractmethod
    def sources(self, paths: list[Path]) -> list[Path]:
        """Those of the written sources that the simulator takes."""

    @abstractmethod
    def runner(self, builds: Path | None = None) -> Runner:
        """A fresh cocotb runner; a build below ``builds`` may use what others have left there."""

    def build(self, verilog: Path, root: Path, preset: str) -> Path:
        """Compile ``verilog`` below ``root``, or find the build of an earlier call.

        Builds have the name ``<preset>-<simulator>-<hash>`` and appear in one step, so that an
        interrupted build leaves nothing that looks like one.
        """
        self.check()
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=root) as temporary:
            part = Path(temporary) / "build"
            part.mkdir()
            paths = write_design(verilog, part, event_driven=self.event_driven)
            digest = hashlib.sha256(repr((self.name, self.waves, self.options())).encode())
            for path in paths:
                digest.update(path.read_bytes())
            kind = f"{self.name}-waves" if self.waves else self.name
            final = root / f"{preset}-{kind}-{digest.hexdigest()[:KEY_DIGITS]}"
            if not final.is_dir():
                self._compile(paths, part, root)
                try:
                    part.rename(final)
                except OSError:  # another process has built the same design meanwhile
                    if not final.is_dir():
                        raise
            return final

    def _compile(self, paths: list[Path], folder: Path, root: Path) -> None:
        log = folder / BUILD_LOG
        try:
            with _own_settings():
                self.runner(root).build(
                    sources=[str(path) for path in self.sources(paths)],
                    hdl_toplevel=TOP,
                    build_dir=folder,
                    build_args=self.options(),
                    defines={"WAVES": f'"{self.wave_file}"'} if self.waves else {},
                    timescale=("1ns", "1ps"),
                    always=True,
                    log_file=log,
                )
        except (RuntimeError, OSError, SystemExit) as error:
            kept = root / f"failed-{BUILD_LOG}"
            if log.exists():
                shutil.copy(log, kept)
            raise SimulatorError(
                f"{self.name} must compile the design: {error}\n{tail(log)}\nwhole log: {kept}"
            ) from error

    def run(self, build: Path, folders: Sequence[Path]) -> Path:
        """Run the test bench with the jobs in ``folders``, one after the other.

        It works in the first of them, where its log and trace are. Returns the path of the JUnit
        results, and blocks until the end.
        """
        folder = folders[0]
        log = folder / RUN_LOG
        try:
            with _own_settings():
                return self.runner().test(
                    test_module=TEST_MODULE,
                    hdl_toplevel=TOP,
                    hdl_toplevel_lang="verilog",
                    build_dir=build,
                    test_dir=folder,
                    extra_env={**NO_REWRITING, **folders_in_environment(folders)},
                    plusargs=["+preload"] if (folder / MEMORY_FILE).exists() else [],
                    results_xml=str((folder / "results.xml").absolute()),
                    log_file=log,
                )
        except (RuntimeError, OSError, SystemExit) as error:
            raise SimulatorError(
                f"{self.name} must run to the end of the test bench: {error}\n{tail(log)}\n"
                f"whole log: {log}"
            ) from error
