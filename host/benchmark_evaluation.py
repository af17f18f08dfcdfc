"""How long an answer takes for one network: the cycle model, the RTL in Verilator, SCALE-Sim."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from compiler.compile import compile_network
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import AcceleratorConfig
from sim import scale_sim
from sim.cycles.model import run_program
from sim.peer_tools import PeerError

__all__ = ["Evaluation", "measure"]

REPEATS = 10
"""Runs of the cycle model; the fastest counts, the others shared the machine."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Seconds for the cycles of one image."""

    cycle_model: float
    verilator: float
    """Of the RTL, without building it."""
    scale_sim: float | None
    """For the same convolution shapes on ``rows`` x ``columns`` elements; None if it failed."""
    scale_sim_cycles: int | None
    scale_sim_error: str | None

    @property
    def verilator_ratio(self) -> float:
        return self.verilator / self.cycle_model

    @property
    def scale_sim_ratio(self) -> float | None:
        return None if self.scale_sim is None else self.scale_sim / self.cycle_model


def measure(
    model: Path, config: AcceleratorConfig, *, verilator: float, cycles: int, work: Path
) -> Evaluation:
    """Time the cycle model and SCALE-Sim, which is installed below ``work`` on first use.

    Args:
        model: Exported model.
        config: Accelerator.
        verilator: Seconds that an image took on the RTL.
        cycles: Cycles that an image took on the RTL.
        work: Folder.

    Raises:
        ValueError: The cycle model's answer is not that of the RTL.
    """
    network = lower(import_model(model))
    program = compile_network(network, config)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run = run_program(program, config)
        seconds.append(time.perf_counter() - start)
        if run.cycles != cycles:
            raise ValueError(f"cycle model must say {cycles:,} cycles, not {run.cycles:,}")
    other, error = None, None
    try:
        python = scale_sim.install(work / "scale-sim")
        other = scale_sim.run(python, network, config.array, work / f"scale-sim-{model.stem}")
    except (PeerError, OSError) as failure:
        error = str(failure)
    return Evaluation(
        cycle_model=min(seconds),
        verilator=verilator,
        scale_sim=other.seconds if other else None,
        scale_sim_cycles=other.cycles if other else None,
        scale_sim_error=error,
    )
