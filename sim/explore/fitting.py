"""Depths of memories that follow a network: as small as holds all that it keeps on chip.

A search over ten depths would spend most of its points on memories that are too small for the
network, or larger than it can use.
"""

from __future__ import annotations

from collections.abc import Collection

from compiler.placement import allocate
from compiler.plan import plan_network
from compiler.program import Program
from compiler.units import Plan, Table, divide
from golden.integer_network import IntegerNetwork
from hw.config import STREAM_PLACES, AcceleratorConfig, preset

from .fields import changed, sizes_of

__all__ = ["EXTERNAL", "FITTED", "fit_external", "fit_tables"]

_TABLES = {
    "weight_words": Table.WEIGHTS,
    "coefficient_words": Table.COEFFICIENTS,
    "parameter_words": Table.PARAMETERS,
    "window_entries": Table.WINDOWS,
    "pass_entries": Table.PASSES,
    "threshold_groups": Table.THRESHOLDS,
}
EXTERNAL = "external_words"
FITTED = (*_TABLES, "activation_words", "stream_vectors", EXTERNAL)
"""Sizes that can follow the network."""
LEAST, EXTERNAL_STEP = 16, 1024
"""Smallest depth, and what the external memory is a multiple of."""


def fit_tables(
    network: IntegerNetwork, config: AcceleratorConfig, names: Collection[str]
) -> tuple[AcceleratorConfig, Plan]:
    """``config`` with each depth in ``names`` as small as the network needs, and the plan for it.

    A table that would not fit the deepest memory gets that: it is loaded piece by piece. The
    external memory is the deepest, see :func:`fit_external`; an SDRAM is as large as it is, and
    must not be among ``names``.

    Raises:
        ProgramError: The network cannot be mapped even with the deepest memories.
    """
    if not names:
        return config, plan_network(network, config)
    limits = sizes_of(preset("simulation-large"))
    if config.memory.spill_vectors:
        limits["stream_vectors"] = STREAM_PLACES // 2
    large = changed(config, {name: limits[name] for name in names}, name=config.name)
    plan = plan_network(network, large)
    addresses = allocate(network, plan, large)
    needs = {
        "activation_words": addresses.activation_words,
        "stream_vectors": max(addresses.stream_vectors, config.memory.spill_vectors),
        EXTERNAL: limits[EXTERNAL],
        **{name: sum(p.total(table) for p in plan.layers) for name, table in _TABLES.items()},
    }
    depths = {name: min(_depth(needs[name]), limits[name]) for name in names}
    fitted = changed(config, depths, name=config.name)
    # Of the depths only these decide how a layer is planned: whether passes may be shared, and
    # beside an SDRAM whether a tensor may have to leave the chip.
    may_move = config.spills and {"activation_words", "stream_vectors"} & set(names)
    if not may_move and all(
        layer.tables is None or layer.tables.fits_half(fitted) for layer in plan.layers
    ):
        return fitted, divide(list(plan.layers), fitted)
    return fitted, plan_network(network, fitted)


def fit_external(program: Program, config: AcceleratorConfig) -> AcceleratorConfig:
    """``config`` with the smallest external memory for a program that was compiled for a deeper
    one: an image for each step of loading goes there, so only the last one has to fit."""
    words = -(-len(program.memory) // EXTERNAL_STEP) * EXTERNAL_STEP
    return changed(config, {EXTERNAL: words}, name=config.name)


def _depth(need: int) -> int:
    return max(LEAST, 1 << max(0, need - 1).bit_length())
