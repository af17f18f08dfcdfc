"""Candidates: limits, and which of them are on the front."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.candidate import Candidate, Judge, pareto_front
from sim.explore.candidate_clocks import CandidateClocks
from sim.explore.evaluation import Outcome, evaluate
from sim.explore.fields import BLOCK_RAM, with_external_memory
from sim.explore.metrics import METRICS
from sim.explore.question import Question
from tests.sim.explore.questions import CLOCK, SPACE, judge, model, network

POINT = {"columns": 4, "granules": 2, "drain_lanes": 1}
COUNTERS = {"array_busy": 700, "fill_busy": 400}
OBJECTIVES = ("images_per_second", "lut4", "block_ram")


def candidates(values):
    return [
        Candidate(
            point={"columns": index},
            config=None,
            metrics=dict(zip(OBJECTIVES, figures, strict=True)),
            problems=() if feasible else ("no",),
        )
        for index, (*figures, feasible) in enumerate(values)
    ]


def beats(one, other):
    pairs = [
        (-a, -b) if METRICS[name].is_maximized else (a, b)
        for name in OBJECTIVES
        for a, b in [(one.metrics[name], other.metrics[name])]
    ]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


FIGURES = st.integers(0, 4)


@given(st.lists(st.tuples(FIGURES, FIGURES, FIGURES, st.booleans()), max_size=30))
def test_the_front_is_what_no_feasible_candidate_beats(values):
    pool = candidates(values)
    feasible = [c for c in pool if c.is_feasible]
    best = [c for c in feasible if not any(beats(other, c) for other in feasible)]
    front = pareto_front(pool, OBJECTIVES)
    figures = [tuple(c.metrics.values()) for c in front]
    assert set(figures) == {tuple(c.metrics.values()) for c in best}
    assert len(set(figures)) == len(figures)
    assert figures == sorted(figures, key=lambda f: (-f[0], f[1], f[2]))


def test_metrics_come_from_cycles_clock_and_area():
    outcome = evaluate(network(), preset("tiny"))
    made = judge().judge(POINT, preset("tiny"), outcome)
    assert made.is_feasible
    assert made.clock == CLOCK
    assert made.metrics["cycles"] == outcome.cycles
    seconds = outcome.cycles / (CLOCK.mhz * 1e6)
    assert made.metrics["images_per_second"] == pytest.approx(1 / seconds)
    assert made.metrics["latency_ms"] == pytest.approx(1e3 * seconds)
    assert (made.metrics["block_ram"], made.metrics["multipliers"]) == (50, 12)
    assert set(made.metrics) == set(METRICS)


def test_figures_of_a_batch_are_per_image_and_its_latency_that_of_the_run():
    outcome = Outcome(cycles=1_000_001, images=4, counters=COUNTERS)
    made = judge().judge({**POINT, "batch": 4}, preset("tiny"), outcome)
    assert made.metrics["cycles"] == 250_000
    assert made.metrics["images_per_second"] == 4 / (1_000_001 / (CLOCK.mhz * 1e6))
    assert made.metrics["latency_ms"] == 1e3 * (1_000_001 / (CLOCK.mhz * 1e6))
    alone = judge().judge(POINT, preset("tiny"), replace(outcome, images=1))
    assert made.metrics["energy_uj"] == alone.metrics["energy_uj"] / 4
    assert made.metrics["lut4"] == alone.metrics["lut4"]


def test_each_candidate_is_judged_at_the_clock_of_its_external_memory():
    clocks = CandidateClocks({BLOCK_RAM: CLOCK, "16Mx16": replace(CLOCK, mhz=25.0)})
    mixed = Judge(Question(space=SPACE), board("ulx3s-12f"), clocks, model())
    outcome = Outcome(cycles=1_000_000, counters=COUNTERS)
    block = mixed.judge(POINT, preset("tiny"), outcome)
    sdram = mixed.judge(POINT, with_external_memory(preset("tiny"), "16Mx16"), outcome)
    assert (block.metrics["images_per_second"], block.metrics["latency_ms"]) == (50.0, 20.0)
    assert (sdram.metrics["images_per_second"], sdram.metrics["latency_ms"]) == (25.0, 40.0)


def test_limits_of_the_board_and_of_the_question_are_told_with_figures():
    question = Question(space=SPACE, limits={"images_per_second": 1e9, "multipliers": 11})
    outcome = evaluate(network(), preset("ulx3s-85f"))
    made = judge(question).judge(POINT, preset("ulx3s-85f"), outcome)
    problems = "\n".join(made.problems)
    assert "LUT4 (model) must be at most 21,881 (ulx3s-12f, when placed), not" in problems
    assert "block RAMs must be at most 56 (ulx3s-12f), not 180" in problems
    assert "multipliers must be at most 28 (ulx3s-12f), not 48" in problems
    assert "multipliers must be at most 11 (limits), not 48" in problems
    assert "must be at least 1,000,000,000.0 (limits), not" in problems
    assert len(made.problems) == sum(excess > 0 for excess in made.excess)


def test_depths_that_follow_the_model_are_those_of_the_candidate():
    outcome = replace(evaluate(network(), preset("tiny")), fitted={"weight_words": 64})
    made = judge().judge(POINT, preset("tiny"), outcome)
    assert made.config.memory.weight_words == 64


def test_no_program_is_a_problem_without_metrics():
    made = judge().judge(POINT, preset("tiny"), Outcome(cycles=None, reason="too deep"))
    assert (made.problems, made.metrics, made.is_feasible) == (("too deep",), {}, False)
    assert made.clock is None
