"""The sizes of a configuration as a flat table: names that a search space and a CSV file use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hw.config import SPILL_VECTORS, STREAM_PLACES, AcceleratorConfig, ConfigError
from hw.memory.sdram_part import SDRAM_PARTS, sdram_part

__all__ = [
    "BLOCK_RAM",
    "EXTERNAL_MEMORIES",
    "FIELDS",
    "changed",
    "external_memory",
    "sizes_of",
    "spilled_vectors",
    "with_external_memory",
]

_PARTS = ("array", "memory", "datapath")

BLOCK_RAM = "block RAM"
EXTERNAL_MEMORIES = (BLOCK_RAM, *SDRAM_PARTS)
"""What may be behind the port of external memory: a word per cycle, or an SDRAM's in two."""


def _fields() -> dict[str, str]:
    parts = {}
    sample = AcceleratorConfig(name="fields")
    for part in _PARTS:
        for field in dataclasses.fields(getattr(sample, part)):
            if field.name in parts:
                raise ValueError(f"size {field.name} must be in one part of a configuration only")
            parts[field.name] = part
    return parts


FIELDS: dict[str, str] = _fields()
"""Name of each size, and the part of ``AcceleratorConfig`` that holds it."""


def sizes_of(config: AcceleratorConfig) -> dict[str, int]:
    """All sizes of a configuration, in the order of :data:`FIELDS`."""
    return {name: getattr(getattr(config, part), name) for name, part in FIELDS.items()}


def changed(base: AcceleratorConfig, sizes: Mapping[str, int], *, name: str) -> AcceleratorConfig:
    """``base`` with other sizes, called ``name``.

    Raises:
        ConfigError: There is no such size, or the configuration cannot be built.
    """
    parts: dict[str, dict[str, int]] = {part: {} for part in _PARTS}
    for size, value in sizes.items():
        if size not in FIELDS:
            raise ConfigError(f"size must be one of {', '.join(FIELDS)}, not {size}")
        parts[FIELDS[size]][size] = value
    # Each part checks itself when it is made.
    new = {
        part: dataclasses.replace(getattr(base, part), **values) for part, values in parts.items()
    }
    return dataclasses.replace(base, name=name, **new)


def external_memory(config: AcceleratorConfig) -> str:
    """Which of :data:`EXTERNAL_MEMORIES` a configuration has."""
    return config.sdram or BLOCK_RAM


def with_external_memory(
    config: AcceleratorConfig, kind: str, sizes: Mapping[str, int] | None = None
) -> AcceleratorConfig:
    """``config`` with another external memory, and with other ``sizes`` as in :func:`changed`.

    An SDRAM has all its words; what the sizes do not say of spilled vectors follows from the rows
    and the stream memory, see :func:`spilled_vectors`. A block RAM is as deep as the memory was,
    and spills none.

    Raises:
        ConfigError: There is no such memory or size, or the configuration cannot be built.
    """
    if kind not in EXTERNAL_MEMORIES:
        raise ConfigError(
            f"external memory must be one of {', '.join(EXTERNAL_MEMORIES)}, not {kind}"
        )
    sizes = sizes or {}
    # Sizes change while there is no SDRAM: a configuration checks its words against its part.
    bare = dataclasses.replace(config, sdram=None)
    if kind == BLOCK_RAM:
        return changed(bare, {"spill_vectors": 0, **sizes}, name=config.name)
    both = sizes_of(config) | sizes
    memory = {
        "external_words": sdram_part(kind).words,
        "spill_vectors": spilled_vectors(both["rows"], both["stream_vectors"]),
    }
    made = changed(bare, {**memory, **sizes}, name=config.name)
    return dataclasses.replace(made, sdram=kind)


def spilled_vectors(rows: int, stream_vectors: int) -> int:
    """As many as the presets with these rows spill, at most those of the stream memory; none with
    rows that no preset has, or beside a stream memory that takes up all addresses."""
    if stream_vectors > STREAM_PLACES // 2:
        return 0
    return min(SPILL_VECTORS.get(rows, 0), stream_vectors)
