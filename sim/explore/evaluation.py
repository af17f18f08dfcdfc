"""One candidate: its cycles from the compiler and the cycle model, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compiler.compile import compile_network
from compiler.program import ProgramError
from compiler.units import Table
from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig
from hw.isa import Counter
from sim.cycles.model import CycleError, run_program

__all__ = ["Outcome", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the compiler and the cycle model say of a network on a configuration."""

    cycles: int | None
    """Per image; None if the network has no program for the configuration."""
    reason: str = ""
    """Why there is none."""
    counters: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Performance counters of the accelerator, by lower-case name."""
    passes: int = 0
    """Passes that the array's columns make, each drained once."""
    vectors: int = 0
    """Vectors of accumulators that the post engine takes from the array."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Outcome:
        return Outcome(**plain)


def evaluate(network: IntegerNetwork, config: AcceleratorConfig) -> Outcome:
    """Compile a network and run the cycle model, whose cycles are those of the RTL."""
    try:
        # Of the tables that stay on chip only the passes decide about cycles.
        program = compile_network(network, config, staged=(Table.PASSES,))
        run = run_program(program, config)
    except (ProgramError, CycleError) as error:
        return Outcome(cycles=None, reason=str(error))
    counters: dict[Counter, int] = run.counters
    strips = [(len(command.lengths), len(command.issued)) for command in run.commands]
    return Outcome(
        cycles=run.cycles,
        counters={counter.name.lower(): count for counter, count in counters.items()},
        passes=sum(passes * count for passes, count in strips),
        vectors=sum(
            command.instruction["pixels"] * command.instruction["tiles"] for command in run.commands
        ),
    )
