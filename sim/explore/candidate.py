"""A candidate: a point of the space with everything that is known of it, or why it is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hw.board.ulx3s import Board
from hw.config import AcceleratorConfig
from sim.profile import Clock

from .area import Area, AreaModel
from .candidate_clocks import CandidateClocks
from .energy import image_energy_uj
from .evaluation import Outcome
from .fields import changed
from .metrics import METRICS
from .question import Question
from .routed import is_beyond_routed
from .space import Point

__all__ = ["Candidate", "Judge", "pareto_front"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point that was looked at."""

    point: Point = field(hash=False)
    config: AcceleratorConfig | None
    """None if the point cannot be built."""
    area: Area | None = None
    outcome: Outcome | None = None
    clock: Clock | None = None
    """That images/s and latency are counted at; None without a program."""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    """By name; empty without a program."""
    problems: tuple[str, ...] = ()
    """Why it is not feasible: it cannot be built, has no program, or exceeds a limit."""
    is_beyond_routed: bool = False
    """Its array is larger than any that was routed on the device."""
    excess: tuple[float, ...] = field(default=(), hash=False)
    """By how much each limit is exceeded, relative to it; what is below 0 is room."""

    @property
    def is_feasible(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class _Limit:
    metric: str
    bound: float
    owner: str

    def excess(self, value: float) -> float:
        """Share of the bound by which a value is beyond it."""
        beyond = (value - self.bound) / self.bound
        return -beyond if METRICS[self.metric].is_maximized else beyond

    def text(self, value: float) -> str:
        metric = METRICS[self.metric]
        rule = "at least" if metric.is_maximized else "at most"
        return (
            f"{metric.label} must be {rule} {metric.text(self.bound)} ({self.owner}), "
            f"not {metric.text(value)}"
        )


class Judge:
    """Turns points and outcomes into candidates of one question."""

    def __init__(
        self, question: Question, board: Board, clocks: CandidateClocks, model: AreaModel
    ) -> None:
        self.question = question
        self.board = board
        self.clocks = clocks
        self.model = model
        self._limits = [
            _Limit("lut4", board.lut4 / model.placed_per_lut4, f"{board.name}, when placed"),
            _Limit("ff", board.lut4, board.name),
            _Limit("block_ram", board.block_rams, board.name),
            _Limit("multipliers", board.multipliers, board.name),
            *(_Limit(name, bound, "limits") for name, bound in question.limits.items()),
        ]

    @property
    def limit_names(self) -> list[str]:
        """What the entries of ``Candidate.excess`` belong to."""
        return [f"{limit.metric} of {limit.owner}" for limit in self._limits]

    def unbuildable(self, point: Point, reason: str) -> Candidate:
        """A point that is no configuration."""
        return Candidate(point=point, config=None, problems=(reason,))

    def judge(self, point: Point, config: AcceleratorConfig, outcome: Outcome) -> Candidate:
        """A configuration with its outcome, whose depths it takes on."""
        config = changed(config, outcome.fitted, name=config.name)
        area = self.model.predict(config)
        if outcome.cycles is None or outcome.cycles_per_image is None:
            return Candidate(
                point=point, config=config, area=area, outcome=outcome, problems=(outcome.reason,)
            )
        clock = self.clocks.clock(config, area)
        hertz = clock.mhz * 1e6
        metrics = {
            "images_per_second": hertz * outcome.images / outcome.cycles,
            "latency_ms": 1e3 * outcome.cycles / hertz,
            "cycles": outcome.cycles_per_image,
            "lut4": area.lut4_total,
            "ff": area.ff_total,
            "block_ram": area.block_ram,
            "multipliers": area.multipliers,
            "energy_uj": image_energy_uj(config, outcome),
        }
        excess = tuple(limit.excess(metrics[limit.metric]) for limit in self._limits)
        return Candidate(
            point=point,
            config=config,
            area=area,
            outcome=outcome,
            clock=clock,
            metrics=metrics,
            problems=tuple(
                limit.text(metrics[limit.metric])
                for limit, beyond in zip(self._limits, excess, strict=True)
                if beyond > 0
            ),
            is_beyond_routed=is_beyond_routed(config, self.board),
            excess=excess,
        )


def pareto_front(candidates: Iterable[Candidate], objectives: Sequence[str]) -> list[Candidate]:
    """Feasible candidates that no other one beats: at least as good in all objectives, better in
    one. Of equal ones the first. Best of the first objective first."""
    signs = [-1.0 if METRICS[name].is_maximized else 1.0 for name in objectives]
    feasible = [candidate for candidate in candidates if candidate.is_feasible]

    def costs(candidate: Candidate) -> tuple[float, ...]:
        return tuple(s * candidate.metrics[o] for s, o in zip(signs, objectives, strict=True))

    front: list[Candidate] = []
    taken: list[tuple[float, ...]] = []
    # In this order nothing that comes later can beat what is in the front already.
    for candidate in sorted(feasible, key=costs):
        cost = costs(candidate)
        if not any(all(a <= b for a, b in zip(other, cost, strict=True)) for other in taken):
            front.append(candidate)
            taken.append(cost)
    return front
