"""The accelerator's Verilog, generated once per state of the gateware sources.

Generating a large preset takes much longer than looking at the sources, so the text is kept in a
folder under a name that holds a hash of everything it depends on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import hw
from hw.config import AcceleratorConfig

__all__ = ["cached_verilog", "source_digest"]

KEY_DIGITS = 12


def source_digest(config: AcceleratorConfig) -> str:
    """Hash of the gateware sources, the sizes and the version of Amaranth."""
    digest = hashlib.sha256(repr((version("amaranth"), config)).encode())
    folder = Path(next(iter(hw.__path__)))
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:KEY_DIGITS]


def cached_verilog(config: AcceleratorConfig, path: Path, cache: Path) -> None:
    """Write the Verilog of ``hw.simulation_top`` to ``path``; ``cache`` keeps it."""
    from hw.simulation_top import generate_verilog

    kept = cache / f"{config.name}-{source_digest(config)}.v"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}.part")
        generate_verilog(config, temporary)
        temporary.replace(kept)
    shutil.copy(kept, path)
