"""What was placed and routed so far of the presets and of other arrays for their boards.

``routed.csv`` lists what README.md and docs/decisions report; an attempt that was stopped or did
not route has no clock. The clock model has measurements of its own (:mod:`sim.explore.clocks`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hw.board.ulx3s import Board
from hw.config import AcceleratorConfig, ArrayConfig, preset
from sim.profile import Clock

from .fields import BLOCK_RAM

__all__ = [
    "ROUTED",
    "RoutedDesign",
    "board_clocks",
    "clocks_text",
    "is_beyond_routed",
    "largest_routed",
    "preset_clock",
    "routed_designs",
]

ROUTED = Path(__file__).parent / "routed.csv"


@dataclass(frozen=True, kw_only=True)
class RoutedDesign:
    """An attempt to place and route the whole accelerator."""

    device: str
    array: ArrayConfig
    asked_mhz: float
    routed_mhz: float | None
    """None: it was stopped, or does not route."""
    preset: str
    """Whose clock this is, if it has not changed since."""
    source: str


@cache
def routed_designs() -> tuple[RoutedDesign, ...]:
    """All rows of ``routed.csv``."""
    with open(ROUTED, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = ("rows", "columns", "granules", "drain_lanes")
    return tuple(
        RoutedDesign(
            device=row["device"],
            array=ArrayConfig(**{size: int(row[size]) for size in sizes}),
            asked_mhz=float(row["asked_mhz"]),
            routed_mhz=float(row["routed_mhz"]) if row["routed_mhz"] else None,
            preset=row["preset"],
            source=row["source"],
        )
        for row in rows
    )


def preset_clock(config: AcceleratorConfig, designs: Iterable[RoutedDesign] | None = None) -> Clock:
    """The routed clock of a preset, or else the clock that it asks for."""
    for design in designs if designs is not None else routed_designs():
        if design.preset == config.name and design.routed_mhz is not None:
            return Clock(mhz=design.routed_mhz, is_routed=True, source=f"preset {config.name}")
    return Clock(mhz=config.clock_mhz, is_routed=False, source=f"preset {config.name}")


def board_clocks(board: Board, memories: Iterable[str]) -> dict[str, Clock]:
    """By external memory: the clock of the board's preset with block RAM, that of its preset with
    SDRAM for all parts."""
    return {
        memory: preset_clock(
            preset(board.preset if memory == BLOCK_RAM else f"{board.preset}-sdram")
        )
        for memory in memories
    }


def clocks_text(clocks: Mapping[str, Clock]) -> str:
    """Which clocks apply, and to what if there are several."""
    memories: dict[Clock, list[str]] = {}
    for memory, clock in clocks.items():
        memories.setdefault(clock, []).append(memory)
    if len(memories) == 1:
        (clock,) = memories
        return f"at {clock.mhz:g} MHz, the preset's clock ({_origin(clock)})"
    parts = [
        f"{clock.mhz:g} MHz with {' or '.join(names)} ({_origin(clock)})"
        for clock, names in memories.items()
    ]
    return f"at the presets' clocks: {', '.join(parts)}"


def _origin(clock: Clock) -> str:
    return f"{clock.kind}: {clock.source}"


def largest_routed(board: Board) -> int:
    """Binary MACs per cycle of the largest array that was routed on the device; 0 if none was."""
    return max(
        (
            design.array.binary_macs_per_cycle
            for design in routed_designs()
            if design.device == board.device and design.routed_mhz is not None
        ),
        default=0,
    )


def is_beyond_routed(config: AcceleratorConfig, board: Board) -> bool:
    """Whether an array is larger than any that was routed on the device: it may fit, and yet not
    route."""
    return config.array.binary_macs_per_cycle > largest_routed(board)
