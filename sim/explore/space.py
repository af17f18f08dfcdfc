"""A search space: which sizes of a configuration may take which values, and images of a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hw.config import AcceleratorConfig, ConfigError

from .fields import (
    BLOCK_RAM,
    EXTERNAL_MEMORIES,
    FIELDS,
    changed,
    external_memory,
    with_external_memory,
)

__all__ = [
    "BATCH",
    "EXTERNAL_MEMORY",
    "Case",
    "Dimension",
    "Point",
    "Space",
    "SpaceError",
    "Value",
]

Value = int | str
Point = Mapping[str, Value]
"""A value of each dimension, by name."""
BATCH, EXTERNAL_MEMORY = "batch", "external_memory"
"""Dimensions that are no sizes: images of a run, and what is behind the memory port."""


class SpaceError(ValueError):
    """A space or a question about it that makes no sense; the text names the entry and the rule."""


@dataclass(frozen=True)
class Dimension:
    """One size and its values, ascending; or one of the other dimensions."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is evaluated: an accelerator, and how it is used."""

    config: AcceleratorConfig
    batch: int = 1
    """Images of a run."""


@dataclass(frozen=True)
class Space:
    """The product of its dimensions; all other sizes are those of ``base``, and a run takes one
    image.

    Not every point is a configuration that can be built, but every value is part of one that can.
    """

    base: AcceleratorConfig
    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise SpaceError("space must have at least one size to vary")
        for dimension in self.dimensions:
            if dimension.name not in (*FIELDS, BATCH, EXTERNAL_MEMORY):
                raise SpaceError(
                    f"space.{dimension.name} must be {BATCH}, {EXTERNAL_MEMORY} or a size of a "
                    f"configuration: one of {', '.join(FIELDS)}"
                )
            if not dimension.values:
                raise SpaceError(f"space.{dimension.name} must have at least one value")
            if len(set(dimension.values)) != len(dimension.values):
                raise SpaceError(f"space.{dimension.name} must not have a value twice")
        self._check_others()
        for part in dict.fromkeys(FIELDS.values()):
            self._check_part([d for d in self.dimensions if FIELDS.get(d.name) == part])

    def _check_others(self) -> None:
        for batch in self._values(BATCH, (1,)):
            if not isinstance(batch, int) or batch < 1:
                raise SpaceError(f"space.{BATCH} must be of images, at least 1, not {batch}")
        for kind in self.external_memories:
            if kind not in EXTERNAL_MEMORIES:
                raise SpaceError(
                    f"space.{EXTERNAL_MEMORY} must be of {', '.join(EXTERNAL_MEMORIES)}, not {kind}"
                )
        names = [dimension.name for dimension in self.dimensions]
        if EXTERNAL_MEMORY in names and "external_words" in names:
            raise SpaceError(
                f"space.external_words must be left out where {EXTERNAL_MEMORY} is varied: an "
                "SDRAM has a size of its own"
            )
        if not self.has_sdram and any(self._values("spill_vectors", ())):
            raise SpaceError(
                "space.spill_vectors must be 0 or left out without an SDRAM: streams are spilled "
                f"to one. Choose a base with SDRAM, or vary {EXTERNAL_MEMORY}"
            )

    def _values(self, name: str, default: tuple[Value, ...]) -> tuple[Value, ...]:
        return next((d.values for d in self.dimensions if d.name == name), default)

    def _check_part(self, dimensions: list[Dimension]) -> None:
        """Sizes depend only on sizes of the same part and on the external memory, so each part is
        tried out for itself, with every memory that points may have."""
        missing = {(d.name, value): "" for d in dimensions for value in d.values}
        names = [dimension.name for dimension in dimensions]
        for *values, memory in itertools.product(*(d.values for d in dimensions), self._memories):
            chosen: dict[str, Any] = dict(zip(names, values, strict=True))
            new = [pair for pair in chosen.items() if pair in missing]
            if not new:
                continue
            try:
                self._made(chosen, memory)
            except ConfigError as error:
                for pair in new:
                    missing[pair] = str(error)
            else:
                for pair in new:
                    del missing[pair]
        for (name, value), reason in missing.items():
            raise SpaceError(f"space.{name} must not have the value {value}: {reason}")

    @property
    def _memories(self) -> tuple[str | None, ...]:
        """What :meth:`_made` takes."""
        varied = any(dimension.name == EXTERNAL_MEMORY for dimension in self.dimensions)
        return self.external_memories if varied else (None,)

    @property
    def external_memories(self) -> tuple[str, ...]:
        """All that points may have."""
        kinds = self._values(EXTERNAL_MEMORY, (external_memory(self.base),))
        return tuple(str(kind) for kind in kinds)

    @property
    def has_sdram(self) -> bool:
        """Whether some point has an SDRAM."""
        return any(kind != BLOCK_RAM for kind in self.external_memories)

    @property
    def size(self) -> int:
        """Points, whether they can be built or not."""
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def points(self) -> Iterator[dict[str, Value]]:
        """All of them; the last dimension varies fastest."""
        names = [dimension.name for dimension in self.dimensions]
        for values in itertools.product(*(d.values for d in self.dimensions)):
            yield dict(zip(names, values, strict=True))

    def case(self, point: Point) -> Case:
        """What a point says; raises ``ConfigError`` if it cannot be built."""
        return Case(config=self.configuration(point), batch=int(point.get(BATCH, 1)))

    def configuration(self, point: Point) -> AcceleratorConfig:
        """The configuration of a point, which is called like points of other batches; raises
        ``ConfigError`` for one that cannot be built."""
        sizes = {name: int(value) for name, value in point.items() if name in FIELDS}
        memory = point.get(EXTERNAL_MEMORY)
        config = self._made(sizes, None if memory is None else str(memory))
        name = self.name({name: value for name, value in point.items() if name != BATCH})
        return replace(config, name=name)

    def _made(self, sizes: Mapping[str, int], memory: str | None) -> AcceleratorConfig:
        """The base with other sizes; with another external memory unless that is None."""
        config = (
            changed(self.base, sizes, name=self.base.name)
            if memory is None
            else with_external_memory(self.base, memory, sizes)
        )
        if config.sdram is None and config.memory.spill_vectors:
            raise ConfigError(
                f"memory spill_vectors must be 0 with {BLOCK_RAM} as external memory, not "
                f"{config.memory.spill_vectors}"
            )
        return config

    def name(self, point: Point) -> str:
        """A short name of a point: the base, and what is not as there."""
        parts = [
            f"{dimension.name}={point[dimension.name]}"
            for dimension in self.dimensions
            if dimension.name in point and point[dimension.name] != self._of_base(dimension.name)
        ]
        return " ".join([self.base.name, *parts])

    def _of_base(self, name: str) -> Value:
        if name == BATCH:
            return 1
        if name == EXTERNAL_MEMORY:
            return external_memory(self.base)
        return getattr(getattr(self.base, FIELDS[name]), name)
