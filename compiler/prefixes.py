"""One program for a network in its first 1, 2, ... weight planes, and in all of them.

Each prefix has instructions, coefficients and parameters of its own, and leaves out the passes of
the planes that it does not use. The weights, whose planes are those of the whole network
(:mod:`golden.weight_prefix`), windows and pass tables are shared (:mod:`compiler.together`).

The host chooses the planes of an inference by the address that it starts. Weights that stay on the
chip are not loaded again; of those that are loaded for each image only the planes in use are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig

from .program import Prefix, Program
from .together import Together

__all__ = ["compile_prefixes"]


def compile_prefixes(networks: Sequence[IntegerNetwork], config: AcceleratorConfig) -> Program:
    """Compile ``networks``, in 1, 2, ... weight planes; the last one has all.

    Returns the program of the last one; its ``prefixes`` are all of them.

    Raises:
        ProgramError: The networks differ in more than planes, or do not fit together; the text
            has the numbers.
    """
    together = Together(networks, config)
    # All planes first: what the prefixes load is found in what that loads.
    entries = [together.emit(index) for index in reversed(range(len(networks)))][::-1]
    return replace(
        together.program(entries[-1]),
        prefixes=tuple(
            Prefix(
                planes=planes,
                image_entry=entry.address,
                result_fraction=entry.fraction,
                layers=entry.layers,
                tensors=entry.tensors,
            )
            for planes, entry in enumerate(entries, 1)
        ),
    )
