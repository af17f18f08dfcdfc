"""Options that commands of ``lqfpga`` and ``python -m sim`` share."""

from __future__ import annotations

import click

__all__ = ["BATCH", "PRESET", "PRESET_HELP"]

BATCH = click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Images that are computed at once, and share the loads of weights.",
)
"""``batch``: int."""

PRESET_HELP = (
    "Size of the accelerator.  [default: ulx3s-85f, or ulx3s-85f-sdram for a model that it does "
    "not hold]"
)

PRESET = click.option("--preset", help=PRESET_HELP)
"""``preset``: str | None."""
