"""Search for the planes of each layer: accuracy against cycles, as a front."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from compiler.compile import compile_network
from compiler.program import ProgramError
from compiler.units import Table
from golden.graph_export import graph_bytes
from golden.integer_reference import classify
from golden.lowering import lower
from golden.post_training import PostTraining
from host.labelled_images import LabelledImages
from hw.config import AcceleratorConfig
from sim.cycles.model import run_program
from sim.explore.store import source_hash

__all__ = ["MixedSearch", "PrecisionError", "PrecisionPoint", "front_of"]

POPULATION = 20
PATH_POINTS = 24
"""Choices of the path from the most planes to the fewest that a search begins with."""
OBJECTIVES = ("maximize", "minimize")
ACCURACY, CYCLES, PROBLEM = "accuracy", "cycles", "problem"


class PrecisionError(ValueError):
    """A search that cannot be made; the text names the thing and the rule."""


@dataclass(frozen=True, kw_only=True)
class PrecisionPoint:
    """One choice of planes per site."""

    planes: dict[str, int]
    accuracy: float
    """Of the integer network on the validation images, 0..1."""
    cycles: int
    uniform: str = ""
    """Such as W2A3, if all sites of a kind have equally many."""
    other_accuracy: float | None = None
    """On images that took no part in the search."""


class MixedSearch:
    """Planes per site of one network on one configuration, by NSGA-II from good starts.

    Args:
        quantizer: The network with its calibration images.
        config: Sizes of the accelerator.
        images: Validation images.
        weights: Numbers of planes for weights; more than a site has are not tried there.
        activations: Numbers of planes for activations.
        journal: Optuna's journal; trials that it has of the same question are not made again.
        seed: Of the search.

    Raises:
        PrecisionError: The journal is none, or not even the fewest planes have a program.
    """

    def __init__(
        self,
        quantizer: PostTraining,
        config: AcceleratorConfig,
        images: LabelledImages,
        *,
        weights: Sequence[int],
        activations: Sequence[int],
        journal: Path,
        seed: int = 1,
    ) -> None:
        self._quantizer, self._config, self._images = quantizer, config, images
        own = quantizer.own
        self._choices: dict[str, tuple[int, ...]] = {
            site: tuple(bits for bits in weights if bits <= own[site]) or (own[site],)
            for site in quantizer.weights
        } | {site: tuple(activations) for site in quantizer.activations}
        self._kinds = (tuple(weights), tuple(activations))
        # Cycles, and whether there is a program, do not depend on the calibration.
        self._quick = PostTraining(quantizer.graph, quantizer.images[:1])
        self._leave_out_what_has_no_program()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = JournalStorage(JournalFileBackend(str(journal)))
            self._study = optuna.create_study(
                storage=storage,
                study_name=self._question(seed),
                directions=list(OBJECTIVES),
                load_if_exists=True,
            )
        except Exception as error:  # whatever a strange file makes of the parser
            raise PrecisionError(
                f"journal {journal} must be one of Optuna {optuna.__version__}: {error!r}; remove "
                "the file or choose another --output"
            ) from error
        done = len(self._study.get_trials(deepcopy=False))
        # The seed alone would propose the same points again when a search goes on.
        self._study.sampler = optuna.samplers.NSGAIISampler(
            population_size=POPULATION, seed=seed + done
        )
        if done == 0:
            for planes in self._starts():
                self._study.enqueue_trial(self._indices(planes))

    @property
    def done(self) -> int:
        """Trials that are finished."""
        finished = (TrialState.COMPLETE, TrialState.FAIL)
        return len(self._study.get_trials(deepcopy=False, states=finished))

    def run(self, trials: int, told: Callable[[PrecisionPoint | None], object]) -> None:
        """Go on to ``trials`` trials in all; ``told`` hears of each one, None without a program."""
        while self.done < trials:
            trial = self._study.ask()
            planes = self._planes(trial)
            try:
                point = self.evaluate(planes, self._images)
            except ProgramError as error:
                trial.set_user_attr(PROBLEM, str(error))
                self._study.tell(trial, state=TrialState.FAIL)
                told(None)
                continue
            self._study.tell(trial, [point.accuracy, float(point.cycles)])
            told(point)

    def evaluate(self, planes: dict[str, int], images: LabelledImages) -> PrecisionPoint:
        """Accuracy in integers and cycles; raises :class:`ProgramError` if there is no program."""
        network = lower(self._quantizer.quantized(planes))
        cycles = run_program(compile_network(network, self._config), self._config).cycles
        answers = classify(network, images.pixels)
        accuracy = float((answers == images.labels).mean())
        return PrecisionPoint(planes=planes, accuracy=accuracy, cycles=cycles)

    def with_other_accuracy(self, point: PrecisionPoint, images: LabelledImages) -> PrecisionPoint:
        """The point with its accuracy on other images."""
        other = self.evaluate(point.planes, images)
        return replace(point, other_accuracy=other.accuracy)

    def model(self, point: PrecisionPoint) -> bytes:
        """Content of the model file of a point."""
        return graph_bytes(self._quantizer.quantized(point.planes))

    def points(self) -> list[PrecisionPoint]:
        """All points that have a program, each once, by cycles."""
        found: dict[tuple[int, ...], PrecisionPoint] = {}
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            planes = self._planes_of(trial)
            key = tuple(planes.values())
            accuracy, cycles = trial.values
            found[key] = PrecisionPoint(
                planes=planes, accuracy=accuracy, cycles=int(cycles), uniform=self._name(planes)
            )
        return sorted(found.values(), key=lambda point: (point.cycles, -point.accuracy))

    def problems(self) -> list[str]:
        """Why choices have no program, each reason once."""
        failed = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        reasons = (*self._left_out.values(), *(t.user_attrs.get(PROBLEM, "") for t in failed))
        return list(dict.fromkeys(reasons))

    def _quick_cycles(self, planes: dict[str, int]) -> int:
        """Cycles of a choice; raises :class:`ProgramError`."""
        network = lower(self._quick.quantized(planes))
        program = compile_network(network, self._config, staged=(Table.PASSES,))
        return run_program(program, self._config).cycles

    def _leave_out_what_has_no_program(self) -> None:
        """Drop, of each site, planes that have no program even with the fewest everywhere else."""
        fewest = {site: min(choices) for site, choices in self._choices.items()}
        self._left_out: dict[tuple[str, int], str] = {}

        def problem(planes: dict[str, int]) -> str | None:
            try:
                self._quick_cycles(planes)
            except ProgramError as error:
                return str(error)
            return None

        reason = problem(fewest)
        if reason is not None:
            raise PrecisionError(
                f"the fewest planes must have a program on {self._config.name}: {reason}"
            )
        for site, choices in self._choices.items():
            for bits in sorted(choices, reverse=True):
                reason = None if bits == fewest[site] else problem({**fewest, site: bits})
                if reason is None:
                    break  # what more planes can do, fewer can
                self._left_out[site, bits] = reason
                self._choices[site] = tuple(c for c in self._choices[site] if c != bits)

    def _starts(self) -> list[dict[str, int]]:
        """The uniform choices, then some of the path between the most and the fewest planes."""
        path = self._path()
        count = min(PATH_POINTS, len(path))
        chosen = [path[index * len(path) // count] for index in range(count)]
        found = [*self._uniform(), *chosen]
        return [planes for index, planes in enumerate(found) if planes not in found[:index]]

    def _uniform(self) -> list[dict[str, int]]:
        """For all uniform choices the nearest ones that there are."""

        def nearest(site: str, bits: int) -> int:
            return min(self._choices[site], key=lambda choice: (abs(choice - bits), choice))

        return [
            {
                site: nearest(site, w if site in self._quantizer.weights else a)
                for site in self._choices
            }
            for w, a in product(*self._kinds)
        ]

    def _path(self) -> list[dict[str, int]]:
        """Choices from the most planes down, one site less at a time: that whose quantization
        error grows least for the cycles that it saves, each counted as if it were alone."""
        errors = self._quantizer.errors(sorted({*self._kinds[0], *self._kinds[1]}))
        planes = {site: max(choices) for site, choices in self._choices.items()}
        try:
            most = self._quick_cycles(planes)
        except ProgramError:
            return []
        saved = {
            (site, bits): most - self._quick_cycles({**planes, site: bits})
            for site, choices in self._choices.items()
            for bits in choices
        }

        def price(site: str, bits: int) -> float:
            cycles = saved[site, bits] - saved[site, planes[site]]
            grown = errors[site, bits] - errors[site, planes[site]]
            return grown / cycles if cycles > 0 else math.inf

        path = [planes.copy()]
        while True:
            steps = [
                (price(site, bits), site, bits)
                for site, choices in self._choices.items()
                for bits in choices
                if bits < planes[site]
            ]
            cheapest, site, bits = min(steps, default=(math.inf, "", 0))
            if cheapest == math.inf:
                return path
            planes[site] = bits
            path.append(planes.copy())

    def _name(self, planes: dict[str, int]) -> str:
        """Such as W2A3 if all weights have two planes and all activations three, else nothing."""
        kinds = (self._quantizer.weights, self._quantizer.activations)
        counts = [{planes[site] for site in sites} for sites in kinds]
        if any(len(own) > 1 for own in counts):
            return ""
        return "".join(f"{k}{n}" for k, own in zip("WA", counts, strict=True) for n in own)

    def _indices(self, planes: dict[str, int]) -> dict[str, int]:
        return {site: self._choices[site].index(bits) for site, bits in planes.items()}

    def _planes(self, trial: Trial) -> dict[str, int]:
        return {
            site: choices[trial.suggest_int(site, 0, len(choices) - 1)]
            for site, choices in self._choices.items()
        }

    def _planes_of(self, trial: FrozenTrial) -> dict[str, int]:
        return {site: choices[trial.params[site]] for site, choices in self._choices.items()}

    def _question(self, seed: int) -> str:
        """Name of the study: a hash of all that its outcomes come from."""
        digest = hashlib.sha256(graph_bytes(self._quantizer.graph))
        for array in (self._quantizer.images, self._images.pixels, self._images.labels):
            digest.update(array.tobytes())
        text = json.dumps([self._choices, self._config.fingerprint, seed, source_hash()])
        digest.update(text.encode())
        return digest.hexdigest()[:32]


def front_of(points: Sequence[PrecisionPoint]) -> list[PrecisionPoint]:
    """Points that no other one beats: fewer cycles come first, and accuracy rises."""

    def rising() -> Iterator[PrecisionPoint]:
        best = -1.0
        for point in sorted(points, key=lambda point: (point.cycles, -point.accuracy)):
            if point.accuracy > best:
                best = point.accuracy
                yield point

    return list(rising())
