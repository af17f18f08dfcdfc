"""Kinds of parameters that the commands of ``lqfpga`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["BITS", "FILE", "FOLDER", "PLANE_COUNTS"]

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class Bits(click.ParamType):
    """Planes per code: 1..8, or ``float`` for None."""

    name = "BITS"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value == "float":
            return None
        if str(value) not in tuple("12345678"):
            self.fail(f"bits must be 1..8 or float, not {value!r}", param, ctx)
        return int(value)


BITS = Bits()


class PlaneCounts(click.ParamType):
    """Numbers of planes, 1..8, with commas between them; ascending, each once."""

    name = "COUNTS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part in tuple("12345678") for part in parts):
            self.fail(f"planes must be numbers 1..8 with commas, not {value!r}", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


PLANE_COUNTS = PlaneCounts()
