"""Optuna's NSGA-II over a space, with the trials on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from .candidate import Candidate, Judge
from .metrics import METRICS
from .space import Value

__all__ = ["Sampler", "StudyError"]

_PROBLEMS = "problems"


class StudyError(ValueError):
    """A journal of trials that cannot be used; the text names the file and the rule."""


class Sampler:
    """Proposes points, from what it was told of earlier ones.

    Each parameter is the index of a value. The study that proposes lives in memory, as one trial in
    a file takes as long as a third of an evaluation; finished trials go to the journal, which any
    tool of Optuna's reads, a batch at a time. Points without a program are failed trials, points
    beyond a limit are complete ones with constraints.
    """

    def __init__(self, path: Path, name: str, judge: Judge, *, seed: int, batch: int) -> None:
        """Open the study in a journal, or begin one; raises :class:`StudyError`."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._judge = judge
        self._dimensions = judge.question.space.dimensions
        directions = [
            "maximize" if METRICS[objective].is_maximized else "minimize"
            for objective in judge.question.objectives
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._journal = optuna.create_study(
                storage=storage, study_name=name, directions=directions, load_if_exists=True
            )
        except Exception as error:  # whatever a strange file makes of the parser
            raise StudyError(
                f"study {path} must be a journal of Optuna {optuna.__version__}: {error!r}; remove "
                "the file or choose another --output"
            ) from error
        earlier = self._journal.get_trials(deepcopy=False)
        # The seed alone would propose the same points again when a search goes on.
        nsga = optuna.samplers.NSGAIISampler(population_size=batch, seed=seed + len(earlier))
        self._study = optuna.create_study(directions=directions, sampler=nsga)
        self._study.add_trials(earlier)
        self._asked: list[Trial] = []

    @property
    def count(self) -> int:
        """Trials that are finished."""
        return len(self._study.get_trials(deepcopy=False))

    def points(self) -> list[dict[str, Value]]:
        """Of all finished trials."""
        return [self._point(trial.params) for trial in self._study.get_trials(deepcopy=False)]

    def ask(self, count: int) -> list[dict[str, Value]]:
        """New points, which :meth:`tell` expects in this order."""
        points = []
        for _ in range(count):
            trial = self._study.ask()
            for dimension in self._dimensions:
                trial.suggest_int(dimension.name, 0, len(dimension.values) - 1)
            self._asked.append(trial)
            points.append(self._point(trial.params))
        return points

    def tell(self, candidates: Sequence[Candidate]) -> None:
        """What became of the points that were asked for last."""
        finished: list[FrozenTrial] = []
        for trial, candidate in zip(self._asked, candidates, strict=True):
            trial.set_user_attr(_PROBLEMS, list(candidate.problems))
            if not candidate.metrics:
                finished.append(self._study.tell(trial, state=TrialState.FAIL))
                continue
            for name, excess in zip(self._judge.limit_names, candidate.excess, strict=True):
                trial.set_constraint(name, excess)
            values = [candidate.metrics[name] for name in self._judge.question.objectives]
            finished.append(self._study.tell(trial, values))
        self._asked = []
        self._journal.add_trials(finished)

    def _point(self, params: dict[str, int]) -> dict[str, Value]:
        return {
            dimension.name: dimension.values[params[dimension.name]]
            for dimension in self._dimensions
        }
