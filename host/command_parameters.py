"""Kinds of parameters that the commands of ``lqfpga`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["BITS", "FILE", "FOLDER"]

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
