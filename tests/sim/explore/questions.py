"""A small network and a judge with the repository's area model, for tests of the exploration."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.area import AreaModel
from sim.explore.candidate import Judge
from sim.explore.candidate_clocks import CandidateClocks
from sim.explore.fields import EXTERNAL_MEMORIES
from sim.explore.measurements import read_measurements
from sim.explore.question import Question
from sim.explore.search import Result, search
from sim.explore.space import Dimension, Space
from sim.explore.store import Store
from sim.explore.workers import InProcess
from sim.profile import Clock

__all__ = ["CLOCK", "CLOCKS", "LIMITS", "SPACE", "judge", "model", "network", "small_result"]

LIMITS = RandomLimits(image=(5, 8), channels=10, planes=3, blocks=(1, 2), kernels=(1, 2, 3))
CLOCK = Clock(mhz=50.0, is_routed=True, source="preset ulx3s-12f")
CLOCKS = CandidateClocks(dict.fromkeys(EXTERNAL_MEMORIES, CLOCK))
SPACE = Space(
    preset("tiny"),
    (Dimension("columns", (2, 4)), Dimension("granules", (1, 2)), Dimension("drain_lanes", (1, 4))),
)
"""Eight points, of which those with 2 columns and 4 drain lanes cannot be built."""


@cache
def network() -> IntegerNetwork:
    return lower(import_bytes(model_bytes(random_model(3, LIMITS))))


@cache
def model() -> AreaModel:
    return AreaModel(read_measurements())


def judge(question: Question | None = None, *, board_name: str = "ulx3s-12f") -> Judge:
    return Judge(question or Question(space=SPACE), board(board_name), CLOCKS, model())


@cache
def small_result() -> Result:
    """All points of :data:`SPACE`, with the objectives cycles and lut4."""
    with TemporaryDirectory() as folder, Store(Path(folder) / "outcomes.db") as store:
        return search(
            judge(Question(space=SPACE, objectives=("cycles", "lut4"))),
            "model",
            workers=InProcess(network()),
            store=store,
            trials=8,
            study=Path(folder) / "study.log",
        )
