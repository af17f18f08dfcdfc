"""One candidate: its cycles from the compiler and the cycle model, and what it counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compiler.compile import compile_network
from compiler.program import ProgramError
from compiler.units import Table
from golden.batching import batched
from golden.integer_network import IntegerNetwork
from hw.config import AcceleratorConfig, ConfigError
from hw.isa import Counter
from sim.cycles.model import CycleError, run_program
from sim.traffic import INSTRUCTIONS, traffic_of

from .fields import sizes_of
from .fitting import EXTERNAL, fit_external, fit_tables
from .space import Case

__all__ = ["Outcome", "evaluate", "evaluate_case"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the compiler and the cycle model say of a network on a configuration."""

    cycles: int | None
    """Of a run; None if the network has no program for the configuration."""
    images: int = 1
    """Of a run."""
    reason: str = ""
    """Why there is none."""
    counters: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Performance counters of the accelerator after a run, by lower-case name."""
    fitted: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Depths that follow the network."""
    passes: int = 0
    """Passes that the array's columns make, each drained once."""
    vectors: int = 0
    """Vectors of accumulators that the post engine takes from the array."""
    dma_words: int = 0
    """Words of 32 bits that the DMA engine moves."""
    instruction_words: int = 0
    """Words of the instructions, which come from the external memory, too."""

    @property
    def cycles_per_image(self) -> int | None:
        """Rounded, as a profile tells them."""
        return None if self.cycles is None else round(self.cycles / self.images)

    @property
    def port_words(self) -> int:
        """Words that a run moves over the external memory port."""
        return self.dma_words + self.instruction_words

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Outcome:
        return Outcome(**plain)


def evaluate(
    network: IntegerNetwork, config: AcceleratorConfig, fit: Collection[str] = ()
) -> Outcome:
    """Compile a network and run the cycle model, whose cycles are those of the RTL.

    Args:
        network: What is to be run; of a batch, as :func:`golden.batching.batched` makes it.
        config: On what.
        fit: Depths that follow the network, of ``fitting.FITTED``; those in ``config`` do not
            matter. An SDRAM is as large as it is.
    """
    if config.sdram is not None:
        fit = [name for name in fit if name != EXTERNAL]
    try:
        config, plan = fit_tables(network, config, fit)
        # Of the tables that stay on chip only the passes decide about cycles.
        program = compile_network(network, config, staged=(Table.PASSES,), plan=plan)
        if EXTERNAL in fit:
            config = fit_external(program, config)
        run = run_program(program, config)
        traffic = traffic_of(program, network, config)
    except (ConfigError, ProgramError, CycleError) as error:
        return Outcome(cycles=None, images=network.images, reason=str(error))
    counters: dict[Counter, int] = run.counters
    strips = [(len(command.lengths), len(command.issued)) for command in run.commands]
    return Outcome(
        cycles=run.cycles,
        images=network.images,
        counters={counter.name.lower(): count for counter, count in counters.items()},
        fitted={name: sizes_of(config)[name] for name in fit},
        passes=sum(passes * count for passes, count in strips),
        vectors=sum(
            command.instruction["pixels"] * command.instruction["tiles"] for command in run.commands
        ),
        dma_words=traffic.total - traffic.moved[INSTRUCTIONS],
        instruction_words=traffic.moved[INSTRUCTIONS],
    )


def evaluate_case(network: IntegerNetwork, case: Case, fit: Collection[str] = ()) -> Outcome:
    """:func:`evaluate` of the batch of a network on one image."""
    return evaluate(batched(network, case.batch), case.config, fit)
