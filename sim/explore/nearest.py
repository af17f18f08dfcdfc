"""If nothing fits: which limit, by how much, and what comes nearest."""

from __future__ import annotations

from collections import Counter

from .candidate import Judge
from .search import Result

__all__ = ["NothingFeasible", "nearest_text"]


class NothingFeasible(ValueError):
    """No candidate keeps to all limits."""


def nearest_text(judge: Judge, result: Result) -> str:
    """Why no candidate is feasible: the one that exceeds its limits least, or else the most
    frequent reason for having no program."""
    space = judge.question.space
    compiled = [candidate for candidate in result.candidates if candidate.metrics]
    count = f"none of {len(result.candidates):,} candidates is feasible"
    if compiled:
        nearest = min(compiled, key=lambda c: sum(max(0.0, beyond) for beyond in c.excess))
        return f"{count}; the nearest is {space.name(nearest.point)}: {'; '.join(nearest.problems)}"
    reasons = Counter(reason for c in result.candidates for reason in c.problems)
    # Not the most frequent one: every reason has figures of its own.
    nearest = min(
        result.candidates, key=lambda c: (c.config is None, reasons[c.problems[0]], *c.problems)
    )
    return f"{count}, for instance {space.name(nearest.point)}: {nearest.problems[0]}"
