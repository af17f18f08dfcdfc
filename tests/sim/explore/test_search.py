"""Searches: which points, in which order, and what a second one costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.config import preset
from sim.explore.evaluation import evaluate_case
from sim.explore.question import Question
from sim.explore.sampler import StudyError
from sim.explore.search import search
from sim.explore.space import Dimension, Space
from sim.explore.store import Store
from sim.explore.workers import InProcess, WorkerError
from tests.sim.explore.questions import SPACE, judge, network

QUESTION = Question(space=SPACE, objectives=("cycles", "lut4"))


class Counting(InProcess):
    """Counts evaluations; refuses the one with number ``last``."""

    def __init__(self, last: int | None = None) -> None:
        self.evaluated = 0
        self._last = last
        super().__init__(network(), function=self._evaluate)

    def _evaluate(self, network, case):
        if self.evaluated == self._last:
            raise WorkerError("workers must live")
        self.evaluated += 1
        return evaluate_case(network, case)


def run(folder, *, question=QUESTION, trials=100, workers=None, seed=1, on_progress=None):
    with Store(folder / "outcomes.db") as store:
        return search(
            judge(question),
            "model",
            workers=workers or Counting(),
            store=store,
            trials=trials,
            study=folder / "study.log",
            seed=seed,
            on_progress=on_progress or (lambda progress: None),
        )


def points(result):
    return {tuple(candidate.point.items()) for candidate in result.candidates}


def test_a_small_space_is_looked_at_as_a_whole(tmp_path):
    result = run(tmp_path)
    assert result.is_exhaustive
    assert points(result) == {tuple(point.items()) for point in SPACE.points()}
    refused = [c for c in result.candidates if c.point["drain_lanes"] > c.point["columns"]]
    assert len(refused) == 2
    assert all("array drain lanes must be" in c.problems[0] for c in refused)
    assert all(c.config is None and not c.metrics for c in refused)
    assert result.evaluated == 6


def test_a_repeated_search_evaluates_nothing(tmp_path):
    first = run(tmp_path)
    workers = Counting()
    second = run(tmp_path, workers=workers)
    assert workers.evaluated == second.evaluated == 0
    assert [c.metrics for c in second.front] == [c.metrics for c in first.front]


def test_a_search_that_broke_off_goes_on_with_the_rest(tmp_path):
    with pytest.raises(WorkerError):
        run(tmp_path, workers=Counting(last=4))
    workers = Counting()
    assert len(run(tmp_path, workers=workers).candidates) == 8
    assert workers.evaluated == 2


def test_progress_ends_at_the_total_with_the_best(tmp_path):
    steps = []
    result = run(tmp_path, on_progress=steps.append)
    assert [step.done for step in steps] == list(range(1, 9))
    assert {step.total for step in steps} == {8}
    feasible = [c for c in result.candidates if c.is_feasible]
    assert steps[-1].feasible == len(feasible) == 6
    assert steps[-1].best.metrics["cycles"] == min(c.metrics["cycles"] for c in feasible)


def test_a_large_space_is_sampled_and_goes_on_from_the_journal(tmp_path):
    first = run(tmp_path, trials=4)
    assert not first.is_exhaustive
    assert 1 <= len(first.candidates) <= 4
    workers = Counting()
    second = run(tmp_path, trials=7, workers=workers)
    assert points(second) >= points(first)
    assert workers.evaluated == second.evaluated
    third = run(tmp_path, trials=7)
    assert (points(third), third.evaluated) == (points(second), 0)


def test_the_same_seed_proposes_the_same_points(tmp_path):
    one, other = (run(tmp_path / name, trials=5) for name in ("one", "other"))
    assert points(one) == points(other)


def test_another_question_begins_another_study(tmp_path):
    run(tmp_path, trials=7)
    limited = replace(QUESTION, limits={"lut4": 13_500})
    result = run(tmp_path, question=limited, trials=3)
    assert len(result.candidates) <= 3


def test_batches_of_a_configuration_are_points_of_their_own(tmp_path):
    space = Space(preset("tiny"), (Dimension("columns", (2, 4)), Dimension("batch", (1, 2, 4))))
    question = replace(QUESTION, space=space, objectives=("cycles", "latency_ms"))
    result = run(tmp_path, question=question)
    assert result.evaluated == 6
    by_point = {tuple(c.point.values()): c for c in result.candidates}
    assert (
        "images of a batch must be at most the array's 2 columns, not 4"
        in by_point[2, 4].problems[0]
    )
    assert not by_point[2, 4].metrics
    for columns, batch in ((2, 1), (2, 2), (4, 1), (4, 2), (4, 4)):
        made = by_point[columns, batch]
        assert made.outcome.images == batch
        assert made.config.name == by_point[columns, 1].config.name
    assert run(tmp_path, question=question).evaluated == 0
    # The same configurations without batches share the outcomes of one image.
    alone = replace(question, space=Space(preset("tiny"), space.dimensions[:1]))
    found = run(tmp_path, question=alone)
    assert found.evaluated == 0
    assert [c.metrics for c in found.candidates] == [by_point[n, 1].metrics for n in (2, 4)]


def test_a_journal_that_is_none_is_refused(tmp_path):
    (tmp_path / "study.log").write_text("no journal\n")
    with pytest.raises(StudyError, match="study.log must be a journal of Optuna"):
        run(tmp_path, trials=4)
