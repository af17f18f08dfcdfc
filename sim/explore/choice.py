"""Points that are looked at closely: some of the front, compiled in full and profiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.compile import compile_network
from golden.batching import batched
from golden.integer_network import IntegerNetwork
from sim.profile import Profile, profile_program

from .candidate import Candidate

__all__ = ["Chosen", "choose", "look_closely"]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A candidate of the front with its profile."""

    number: int
    """Place in the front, from 1."""
    candidate: Candidate
    profile: Profile


def choose(front: Sequence[Candidate], count: int) -> list[int]:
    """Places of ``count`` candidates of the front, evenly apart, the first and the last of them
    among these; all if there are no more."""
    if count >= len(front):
        return list(range(len(front)))
    if count == 1:
        return [0]
    return [round(index * (len(front) - 1) / (count - 1)) for index in range(count)]


def look_closely(
    front: Sequence[Candidate],
    places: Sequence[int],
    network: IntegerNetwork,
    *,
    model: str,
) -> list[Chosen]:
    """Compile with all tables, run the cycle model again, and attribute the cycles.

    Raises:
        ValueError: The cycles are not those of the search, which would be a defect.
    """
    chosen = []
    for place in places:
        candidate = front[place]
        config, outcome = candidate.config, candidate.outcome
        assert config is not None
        assert outcome is not None
        assert candidate.clock is not None
        program = compile_network(batched(network, outcome.images), config)
        profile = profile_program(program, config, model=model, clock=candidate.clock)
        if profile.cycles != outcome.cycles:
            raise ValueError(
                f"{config.name} must take {outcome.cycles:,} cycles as in the search, not "
                f"{profile.cycles:,}"
            )
        chosen.append(Chosen(number=place + 1, candidate=candidate, profile=profile))
    return chosen
