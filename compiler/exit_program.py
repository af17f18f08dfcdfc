"""A program whose last layer is summed in parts, each a run of its own, so that the host can stop.

The first run goes through the network and the first groups of the last layer's plane pairs; every
other one finds the layer's input in the activation memory, where the first has left it, and adds up
the next groups. Logits of the runs add up to those of the network. After each the host decides by
the bounds of :mod:`compiler.early_exit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig

from .early_exit import ExitPlan, exit_plan, part_of
from .program import ExitPart, Program, ProgramError
from .together import Together

__all__ = ["compile_exits"]


def compile_exits(
    network: IntegerNetwork,
    cuts: Sequence[int],
    config: AcceleratorConfig,
    *,
    plan: ExitPlan | None = None,
) -> Program:
    """Compile ``network`` with exits after so many groups, and after all.

    Args:
        network: The network.
        cuts: Groups before each exit but the last, ascending.
        config: Sizes.
        plan: That of ``network``, if it is known.

    Returns:
        The program that runs the whole network; its ``exits`` are the parts.

    Raises:
        ProgramError: There are no such groups, or what :func:`exit_plan` and the compiler say.
    """
    plan = plan or exit_plan(network)
    edges = [0, *cuts, len(plan.groups)]
    if any(first >= last for first, last in pairwise(edges)):
        raise ProgramError(
            f"exits must be ascending numbers of groups from 1 to {len(plan.groups) - 1}, "
            f"not {', '.join(map(str, cuts))}"
        )
    parts = [
        part_of(network, plan.groups[first:last], bias=first == 0)
        for first, last in pairwise(edges)
    ]
    together = Together([*parts, network], config)
    whole = together.emit(len(parts))
    entries = [together.emit(index, last_layer_only=index > 0) for index in range(len(parts))]
    return replace(
        together.program(whole),
        exits=tuple(
            ExitPart(
                image_entry=entry.address,
                bounds=tuple(map(tuple, plan.bounds[last - 1].tolist())),
                layers=entry.layers,
                tensors=entry.tensors,
            )
            for entry, last in zip(entries, edges[1:], strict=True)
        ),
    )
