"""A question: a space, what to compare its points by, and what they must keep to.

As a TOML file::

    base = "ulx3s-85f"                        # preset: all sizes that are not in the space
    objectives = ["images_per_second", "lut4"]
    fit = ["activation_words", "stream_vectors"]    # as deep as the model needs

    [space]
    columns = [4, 8]
    granules = [1, 2, 3, 4]

    [limits]                                  # beside those of the board
    block_ram = 150
    images_per_second = 500                   # at least, as more is better

The space may have two dimensions that are no sizes: ``batch``, the images of a run, and
``external_memory``, of :data:`sim.explore.fields.EXTERNAL_MEMORIES`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.board.ulx3s import Board
from hw.config import AcceleratorConfig, ConfigError, preset

from .fields import BLOCK_RAM, EXTERNAL_MEMORIES
from .fitting import EXTERNAL, FITTED
from .metrics import METRICS
from .space import BATCH, EXTERNAL_MEMORY, Dimension, Space, SpaceError

__all__ = ["DEFAULT_OBJECTIVES", "Question", "default_question", "read_question"]

DEFAULT_OBJECTIVES = ("images_per_second", "lut4", "block_ram")
_DEFAULT_SIZES = {
    "rows": (4, 8, 16),
    "columns": (2, 4, 8, 16),
    "granules": (1, 2, 3, 4, 6, 9),
    "drain_lanes": (1, 2, 4, 8),
    "count_width": (9, 11, 13),
    "column_granules": (1024, 2048, 4096),
    "weight_words": (256, 512, 1024, 2048, 4096, 8192),
    "comparators": (1, 3),
}
"""What a search varies if it is not told: sizes that cycles and area depend on. All other depths
follow the model."""
_SDRAM_SIZES = _DEFAULT_SIZES | {
    "activation_words": (4096, 8192, 16384),
    "stream_vectors": (1024, 2048, 4096),
    "spill_vectors": (512, 1024),
    BATCH: (1, 2, 4, 8),
}
"""With an SDRAM: no depth follows the model, and loads of weights cost what a batch can share."""
_KEYS = ("base", "objectives", "fit", "space", "limits")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a search answers."""

    space: Space
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    """Names of :data:`sim.explore.metrics.METRICS`, the most important first."""
    fit: tuple[str, ...] = ()
    """Depths that follow the model, in the order of ``fitting.FITTED``."""
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Least value of a metric that is maximized, largest value of another one."""

    def __post_init__(self) -> None:
        if not self.objectives:
            raise SpaceError(f"objectives must have at least one of {', '.join(METRICS)}")
        if len(set(self.objectives)) != len(self.objectives):
            raise SpaceError("objectives must not have one twice")
        for name in self.objectives:
            if name not in METRICS:
                raise SpaceError(f"objectives must be of {', '.join(METRICS)}, not {name!r}")
        varied = {dimension.name for dimension in self.space.dimensions}
        for name in self.fit:
            if name not in FITTED:
                raise SpaceError(f"fit must be of {', '.join(FITTED)}, not {name!r}")
            if name in varied:
                raise SpaceError(f"{name} must be in space or in fit, not in both")
        if EXTERNAL_MEMORY in varied and EXTERNAL not in self.fit:
            raise SpaceError(
                f"fit must have {EXTERNAL} where {EXTERNAL_MEMORY} is varied: {BLOCK_RAM} is as "
                "deep as the model needs"
            )
        for name, limit in self.limits.items():
            if name not in METRICS:
                raise SpaceError(f"limits.{name} must be one of {', '.join(METRICS)}")
            if isinstance(limit, bool) or not isinstance(limit, int | float) or limit <= 0:
                raise SpaceError(f"limits.{name} must be a number above 0, not {limit!r}")


def default_question(board: Board) -> Question:
    """Everything that matters, around the board's preset."""
    base = preset(board.preset)
    space = _space(base, _default_sizes(base))
    return Question(space=space, fit=_rest(space))


def _default_sizes(base: AcceleratorConfig) -> Mapping[str, Any]:
    return _DEFAULT_SIZES if base.sdram is None else _SDRAM_SIZES


def _rest(space: Space) -> tuple[str, ...]:
    """Depths that follow the model because the space does not have them. With an SDRAM all stay as
    they are: what does not fit moves there, or is loaded for every image."""
    names = (EXTERNAL,) if space.has_sdram else FITTED
    varied = {dimension.name for dimension in space.dimensions}
    return tuple(name for name in names if name not in varied)


def read_question(path: Path, board: Board) -> Question:
    """The question in a TOML file; what it leaves out is as in :func:`default_question`.

    Raises:
        SpaceError: The file is not TOML, or says something that makes no sense.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpaceError(f"space {path} must be readable: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpaceError(f"space {path} must be a TOML file: {error}") from error
    try:
        return _question(content, board)
    except (SpaceError, ConfigError) as error:
        raise SpaceError(f"{path}: {error}") from error


def _question(content: Mapping[str, Any], board: Board) -> Question:
    for key in content:
        if key not in _KEYS:
            raise SpaceError(f"entry must be one of {', '.join(_KEYS)}, not {key}")
    name = content.get("base", board.preset)
    if not isinstance(name, str):
        raise SpaceError(f"base must be the name of a preset, not {name!r}")
    base = preset(name)
    space = _space(base, _table(content, "space", dict(_default_sizes(base))))
    fit = _names(content, "fit", _rest(space))
    return Question(
        space=space,
        objectives=_names(content, "objectives", DEFAULT_OBJECTIVES),
        fit=tuple(dict.fromkeys(sorted(fit, key=_place))),
        limits=_table(content, "limits", {}),
    )


def _names(content: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    names = content.get(key, list(default))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SpaceError(f"{key} must be a list of names, not {names!r}")
    return tuple(names)


def _place(name: str) -> int:
    return FITTED.index(name) if name in FITTED else len(FITTED)


def _table(content: Mapping[str, Any], key: str, default: dict[str, Any]) -> dict[str, Any]:
    table = content.get(key, default)
    if not isinstance(table, dict):
        raise SpaceError(f"{key} must be a table, not {table!r}")
    return table


def _space(base: AcceleratorConfig, sizes: Mapping[str, Any]) -> Space:
    dimensions = []
    for name, values in sizes.items():
        kind, what = (str, "names") if name == EXTERNAL_MEMORY else (int, "whole numbers")
        if not isinstance(values, list | tuple) or not all(
            isinstance(value, kind) and not isinstance(value, bool) for value in values
        ):
            raise SpaceError(f"space.{name} must be a list of {what}, not {values!r}")
        order = EXTERNAL_MEMORIES.index if set(values) <= set(EXTERNAL_MEMORIES) else None
        dimensions.append(Dimension(name, tuple(sorted(values, key=order))))
    return Space(base, tuple(dimensions))
