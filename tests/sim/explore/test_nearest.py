"""What is said when nothing is feasible."""

from dataclasses import replace

from sim.explore.candidate import pareto_front
from sim.explore.nearest import nearest_text
from sim.explore.question import Question
from sim.explore.search import Result
from tests.sim.explore.questions import SPACE, judge, small_result


def result_with(limits):
    """The small result under other limits."""
    strict = judge(Question(space=SPACE, limits=limits))
    candidates = [
        strict.judge(c.point, c.config, c.outcome) if c.outcome else c
        for c in small_result().candidates
    ]
    result = replace(small_result(), candidates=candidates, front=pareto_front(candidates, ()))
    return strict, result


def test_names_the_limit_the_figures_and_the_nearest():
    strict, result = result_with({"multipliers": 5})
    assert not any(c.is_feasible for c in result.candidates)
    text = nearest_text(strict, result)
    assert text.startswith("none of 8 candidates is feasible; the nearest is tiny")
    assert "drain_lanes=1: multipliers must be at most 5 (limits), not 8" in text


def test_without_a_program_it_tells_a_reason():
    refused = [c for c in small_result().candidates if not c.metrics]
    result = Result(candidates=refused, front=[], evaluated=0, seconds=0, is_exhaustive=True)
    text = nearest_text(judge(), result)
    assert "none of 2 candidates is feasible, for instance tiny" in text
    assert "array drain lanes must be a power of two from 1 to 2, not 4" in text
