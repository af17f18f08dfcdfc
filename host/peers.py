"""Published figures of other binary and bit-serial accelerators, for the benchmark table.

They are other silicon, under other conditions: to be read beside ours, not as a race. A figure
that the source does not state is None.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One published figure; a binary MAC counts as one operation here (often two in papers)."""

    system: str
    device: str
    clock_mhz: float | None = None
    binary_macs_per_cycle: int | None = None
    images_per_second: float | None = None
    accuracy: float | None = None
    """CIFAR-10 top-1, percent."""
    source: str


PEERS: tuple[Peer, ...] = (
    Peer(
        system="BISMO v2 10x256x10, peak",
        device="Ultra96 (ZU3EG)",
        clock_mhz=300,
        binary_macs_per_cycle=25_600,
        source="README of the BISMO repository",
    ),
    Peer(
        system="BISMO 8x256x8, peak",
        device="PYNQ-Z1 (Z7020)",
        clock_mhz=200,
        binary_macs_per_cycle=16_384,
        source="doc/platforms.md of the BISMO repository",
    ),
    Peer(
        system="FINN CNV W1A1",
        device="ZC706",
        images_per_second=21_906,
        accuracy=80.1,
        source="FINN (FPGA 2017), abstract",
    ),
    Peer(
        system="FINN CNV W2A2",
        device="AUP-ZU3",
        images_per_second=3_031,
        accuracy=88.63,
        source="FINN examples, published table",
    ),
    Peer(
        system="FINN CNV W1A1",
        device="Arty A7-100T",
        images_per_second=659,
        accuracy=84.5,
        source="MLPerf Tiny results (accuracy on 200 images)",
    ),
)
