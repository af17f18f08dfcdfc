"""Verilator's own runtime, compiled once for all designs in a folder of builds.

Every simulator contains the same few files of Verilator (``verilated*.cpp``), which depend on no
design. Compiling them takes about as long as compiling a small design, so their objects are kept
beside the builds, under a name that holds a hash of all that they depend on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["keep_runtime", "kept_runtime", "runtime_folder"]

OBJECTS = "verilated*.o"
"""Objects of the runtime; the one of cocotb's main program, ``verilator.o``, knows the design."""
VARIABLES = ("CPPFLAGS", "CXXFLAGS", "OPT")
"""Of the environment, that Verilator's makefile adds to the compiler's options."""
KEY_DIGITS = 12


def runtime_folder(builds: Path, verilator: Path, options: list[str]) -> Path:
    """Where ``builds`` has, or will have, the runtime of the Verilator in the folder ``verilator``,
    compiled with these options of Verilator and make."""
    made_with = (options, [os.environ.get(name) for name in VARIABLES])
    digest = hashlib.sha256(repr(made_with).encode())
    digest.update(subprocess.run(["g++", "-v"], capture_output=True, check=True).stderr)
    for path in sorted((verilator / "include").rglob("*")):
        if path.is_file():
            digest.update(str(path).encode())
            digest.update(path.read_bytes())
    return builds / f"verilator-runtime-{digest.hexdigest()[:KEY_DIGITS]}"


def kept_runtime(folder: Path) -> list[Path]:
    """The objects of the runtime; none as long as no build has kept them."""
    return sorted(folder.glob(OBJECTS))


def keep_runtime(build: Path, folder: Path) -> None:
    """Keep the objects of a finished build in ``folder``, which appears in one step."""
    if folder.is_dir():
        return
    with tempfile.TemporaryDirectory(prefix="keeping-", dir=folder.parent) as temporary:
        part = Path(temporary) / "runtime"
        part.mkdir()
        for path in build.glob(OBJECTS):
            shutil.copy(path, part)
        try:
            part.rename(folder)
        except OSError:  # another process has kept the same objects meanwhile
            if not folder.is_dir():
                raise
