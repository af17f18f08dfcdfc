"""Tools of others that this project is compared with, each in a virtual environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PeerError", "call", "install"]

SECONDS = 900


class PeerError(RuntimeError):
    """A tool could not be installed or run; the text ends with what it said."""


def install(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of a virtual environment with packages of PyPI, made in ``folder`` on first use.

    Raises:
        PeerError: It cannot be made.
    """
    folder = folder.absolute()  # programs run in other folders
    python = folder / "bin" / "python"
    done = folder / "installed"
    wanted = "\n".join(requirements)
    if not done.exists() or done.read_text() != wanted:
        call([sys.executable, "-m", "venv", "--clear", str(folder)], folder.parent)
        call([str(python), "-m", "pip", "install", "--quiet", *requirements], folder.parent)
        done.write_text(wanted)
    return python


def call(command: Sequence[str], folder: Path) -> str:
    """Run a program in ``folder``, which is made; its standard output.

    Raises:
        PeerError: It fails, or does not end in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(command[0]).name
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"{name} {command[1]} must end within {SECONDS} s") from None
    if result.returncode:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise PeerError(f"{' '.join([name, *command[1:3]])} failed: {' '.join(last)}")
    return result.stdout
