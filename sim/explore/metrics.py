"""What candidates are compared by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A figure of a candidate."""

    name: str
    short: str
    """For the headings of tables."""
    label: str
    """For axes and hints, with the unit."""
    is_maximized: bool = False
    digits: int = 0
    """Behind the point."""

    def text(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"

    def is_better(self, value: float, other: float) -> bool:
        return value > other if self.is_maximized else value < other


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("images_per_second", "images/s", "images/s", is_maximized=True, digits=1),
        Metric("latency_ms", "ms", "latency of a run (ms)", digits=3),
        Metric("cycles", "cycles", "cycles per image"),
        Metric("lut4", "LUT4", "LUT4 (model)"),
        Metric("ff", "FF", "flip-flops (model)"),
        Metric("block_ram", "BRAM", "block RAMs"),
        Metric("multipliers", "mult", "multipliers"),
        Metric("energy_uj", "µJ", "energy per image (µJ, estimate)", digits=2),
    )
}
"""By name."""
