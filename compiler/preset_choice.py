"""The preset that holds a model, where none is named."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.compile import compile_network
from compiler.program import Program, ProgramError
from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig, preset

__all__ = ["DEFAULT_PRESETS", "compile_for_preset"]

DEFAULT_PRESETS = ("ulx3s-85f", "ulx3s-85f-sdram")
"""Tried in this order: the same array, with block RAM and with the board's SDRAM."""


def compile_for_preset(
    network: IntegerNetwork, name: str | None, defaults: Sequence[str] = DEFAULT_PRESETS
) -> tuple[Program, AcceleratorConfig, str]:
    """Compile for one preset, or for the first of the default ones that holds the network.

    Args:
        network: As for :func:`compiler.compile.compile_network`.
        name: The preset; None tries ``defaults``.
        defaults: Names of presets.

    Returns:
        Program, configuration, and why it is not that of the first default preset, or nothing.

    Raises:
        ConfigError: There is no such preset.
        ProgramError: It does not hold the network, or none does.
    """
    names = defaults if name is None else (name,)
    note = ""
    for candidate in names[:-1]:
        config = preset(candidate)
        try:
            return compile_network(network, config), config, note
        except ProgramError as error:
            note = f"preset {names[-1]}, as {candidate} does not hold the model: {error}"
    config = preset(names[-1])
    return compile_network(network, config), config, note
