"""The search: every point of a small space, or NSGA-II over a large one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hw.config import ConfigError

from .candidate import Candidate, Judge, pareto_front
from .metrics import METRICS
from .sampler import Sampler
from .space import Case, Point, Value
from .store import Store, outcome_key, source_hash
from .workers import Workers

__all__ = ["Progress", "Result", "search"]

BATCH = 50
"""Points that are asked for at once: the population of NSGA-II."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is."""

    done: int
    total: int
    feasible: int
    best: Candidate | None
    """Of the first objective."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """All candidates that a search looked at, each point once."""

    candidates: list[Candidate]
    front: list[Candidate]
    evaluated: int
    """Outcomes that were computed now; the others were in the store."""
    seconds: float
    is_exhaustive: bool


def search(
    judge: Judge,
    model_hash: str,
    *,
    workers: Workers,
    store: Store,
    trials: int,
    study: Path,
    seed: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Look at ``trials`` points, those of earlier calls included, or at all if there are no more.

    Args:
        judge: With the question.
        model_hash: Of the model's content.
        workers: Evaluate.
        store: Has the outcomes that are known, and gets the new ones.
        trials: Points.
        study: File of Optuna's journal, from which a search goes on.
        seed: Of the sampler.
        on_progress: Called after each candidate.

    Raises:
        WorkerError: Workers were lost again and again.
        StudyError: The journal is not one of this version.
    """
    start = time.monotonic()
    space = judge.question.space
    known: dict[str, Candidate] = {}
    asked_for: dict[str, None] = {}  # in this order, whichever is finished first
    evaluated = 0
    best: Candidate | None = None
    is_exhaustive = space.size <= trials
    done, total = 0, min(space.size, trials)

    def note(candidate: Candidate) -> None:
        nonlocal best, done
        done += 1
        objective = judge.question.objectives[0]
        if candidate.is_feasible and (
            best is None
            or METRICS[objective].is_better(candidate.metrics[objective], best.metrics[objective])
        ):
            best = candidate
        feasible = sum(entry.is_feasible for entry in known.values())
        on_progress(Progress(done=min(done, total), total=total, feasible=feasible, best=best))

    def look(points: list[dict[str, Value]]) -> None:
        """Make a candidate of each point that has none."""
        nonlocal evaluated
        cases: dict[str, Case] = {}
        places: dict[str, tuple[str, dict[str, Value]]] = {}
        for point in points:
            name = _key(point)
            if name in asked_for:
                continue
            asked_for[name] = None
            try:
                case = space.case(point)
            except ConfigError as error:
                known[name] = judge.unbuildable(point, str(error))
                note(known[name])
                continue
            key = outcome_key(model_hash, case.config, judge.question.fit, batch=case.batch)
            outcome = store.get(key)
            if outcome is not None:
                known[name] = judge.judge(point, case.config, outcome)
                note(known[name])
            else:
                cases[key] = case
                places[key] = name, point
        for key, outcome in workers.run(cases):
            store.put({key: outcome})
            evaluated += 1
            name, point = places[key]
            known[name] = judge.judge(point, cases[key].config, outcome)
            note(known[name])

    if is_exhaustive:
        for batch in _batches(space.points()):
            look(batch)
    else:
        sampler = Sampler(
            study, _study_name(judge, model_hash, seed), judge, seed=seed, batch=BATCH
        )
        earlier = sampler.points()
        look(earlier)
        while sampler.count < trials:
            asked = sampler.ask(min(BATCH, trials - sampler.count))
            look(asked)
            sampler.tell([known[_key(point)] for point in asked])
    candidates = [known[name] for name in asked_for]
    return Result(
        candidates=candidates,
        front=pareto_front(candidates, judge.question.objectives),
        evaluated=evaluated,
        seconds=time.monotonic() - start,
        is_exhaustive=is_exhaustive,
    )


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


def _batches(points: Iterator[dict[str, Value]]) -> Iterator[list[dict[str, Value]]]:
    batch: list[dict[str, Value]] = []
    for point in points:
        batch.append(point)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _study_name(judge: Judge, model_hash: str, seed: int) -> str:
    """Differs whenever the trials of a study would mean something else."""
    question = judge.question
    text = json.dumps(
        [
            model_hash,
            source_hash(),
            repr(question.space),
            question.objectives,
            question.fit,
            sorted(question.limits.items()),
            judge.board.name,
            judge.clocks.fingerprint,
            judge.model.fingerprint,
            seed,
        ]
    )
    return f"lqfpga-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
