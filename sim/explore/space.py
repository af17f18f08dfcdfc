"""A search space: which sizes of a configuration may take which values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hw.config import AcceleratorConfig, ConfigError

from .fields import FIELDS, changed

__all__ = ["Dimension", "Point", "Space", "SpaceError"]

Point = Mapping[str, int]
"""A value of each dimension, by name."""


class SpaceError(ValueError):
    """A space or a question about it that makes no sense; the text names the entry and the rule."""


@dataclass(frozen=True)
class Dimension:
    """One size and its values, ascending."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """The product of its dimensions; all other sizes are those of ``base``.

    Not every point is a configuration that can be built, but every value is part of one that can.
    """

    base: AcceleratorConfig
    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise SpaceError("space must have at least one size to vary")
        for dimension in self.dimensions:
            if dimension.name not in FIELDS:
                raise SpaceError(
                    f"space.{dimension.name} must be a size of a configuration: one of "
                    f"{', '.join(FIELDS)}"
                )
            if not dimension.values:
                raise SpaceError(f"space.{dimension.name} must have at least one value")
            if len(set(dimension.values)) != len(dimension.values):
                raise SpaceError(f"space.{dimension.name} must not have a value twice")
        for part in dict.fromkeys(FIELDS.values()):
            self._check_part([d for d in self.dimensions if FIELDS[d.name] == part])

    def _check_part(self, dimensions: list[Dimension]) -> None:
        """Sizes depend only on sizes of the same part, so each part is tried out for itself."""
        missing = {(d.name, value): "" for d in dimensions for value in d.values}
        for values in itertools.product(*(d.values for d in dimensions)):
            chosen = dict(zip((d.name for d in dimensions), values, strict=True))
            new = [pair for pair in chosen.items() if pair in missing]
            if not new:
                continue
            try:
                changed(self.base, chosen, name=self.base.name)
            except ConfigError as error:
                for pair in new:
                    missing[pair] = str(error)
            else:
                for pair in new:
                    del missing[pair]
        for (name, value), reason in missing.items():
            raise SpaceError(f"space.{name} must not have the value {value}: {reason}")

    @property
    def size(self) -> int:
        """Points, whether they can be built or not."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def points(self) -> Iterator[dict[str, int]]:
        """All of them; the last dimension varies fastest."""
        names = [dimension.name for dimension in self.dimensions]
        for values in itertools.product(*(d.values for d in self.dimensions)):
            yield dict(zip(names, values, strict=True))

    def configuration(self, point: Point) -> AcceleratorConfig:
        """The configuration of a point; raises ``ConfigError`` for one that cannot be built."""
        return changed(self.base, point, name=self.name(point))

    def name(self, point: Point) -> str:
        """A short name of a point: the base, and what is not as there."""
        parts = [
            f"{dimension.name}={point[dimension.name]}"
            for dimension in self.dimensions
            if point[dimension.name]
            != getattr(getattr(self.base, FIELDS[dimension.name]), dimension.name)
        ]
        return " ".join([self.base.name, *parts])
