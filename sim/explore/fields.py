"""The sizes of a configuration as a flat table: names that a search space and a CSV file use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hw.config import SPILL_VECTORS, AcceleratorConfig, ConfigError
from hw.memory.sdram_part import SDRAM_PARTS, sdram_part

__all__ = [
    "BLOCK_RAM",
    "EXTERNAL_MEMORIES",
    "FIELDS",
    "changed",
    "external_memory",
    "sizes_of",
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


def with_external_memory(config: AcceleratorConfig, kind: str) -> AcceleratorConfig:
    """``config`` with another external memory: of an SDRAM all words, and as many spilled vectors
    as the presets have; a block RAM as deep as the memory was, and none.

    Raises:
        ConfigError: There is no such memory.
    """
    if kind not in EXTERNAL_MEMORIES:
        raise ConfigError(
            f"external memory must be one of {', '.join(EXTERNAL_MEMORIES)}, not {kind}"
        )
    if kind == external_memory(config):
        return config
    sizes = config.memory
    if kind == BLOCK_RAM:
        memory = dataclasses.replace(sizes, spill_vectors=0)
        return dataclasses.replace(config, sdram=None, memory=memory)
    spilled = sizes.spill_vectors if config.sdram else SPILL_VECTORS.get(config.array.rows, 0)
    memory = dataclasses.replace(
        sizes,
        external_words=sdram_part(kind).words,
        spill_vectors=min(spilled, sizes.stream_vectors),
    )
    return dataclasses.replace(config, sdram=kind, memory=memory)
