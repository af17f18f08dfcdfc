"""The sizes of a configuration as a flat table: names that a search space and a CSV file use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hw.config import AcceleratorConfig, ConfigError

__all__ = ["FIELDS", "changed", "sizes_of"]

_PARTS = ("array", "memory", "datapath")


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
