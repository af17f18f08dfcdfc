"""The clock of each candidate: what the clock model says, where it was measured; else the preset's.

The model knows devices, of which designs with block RAM as external memory were routed
(``clocks.csv``). On others, and with an SDRAM, every candidate has the clock of the board's preset
with such a memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from hw.board.ulx3s import Board
from hw.config import AcceleratorConfig
from sim.profile import Clock

from .area import Area, AreaModel
from .clocks import LEAST_CLOCKS, ClockMeasurement, ClockModel
from .fields import BLOCK_RAM, external_memory
from .routed import board_clocks, clocks_text

__all__ = ["CandidateClocks", "candidate_clocks"]

SOURCE = "clock model"


@dataclass(frozen=True)
class CandidateClocks:
    """Where the clocks of a question's candidates come from."""

    presets: Mapping[str, Clock]
    """By external memory, for all of the question's points."""
    model: ClockModel | None = None
    """For points with block RAM; None: the preset's."""
    device_lut4: int = 0
    placed_per_lut4: float = 1.0
    """LUT4 that nextpnr occupies for each of the area model's."""

    def clock(self, config: AcceleratorConfig, area: Area) -> Clock:
        """The clock of a configuration of this area, to a tenth of a MHz."""
        memory = external_memory(config)
        if self.model is None or memory != BLOCK_RAM:
            return self.presets[memory]
        mhz = self.model.predict(area.lut4_total * self.placed_per_lut4, self.device_lut4)
        return Clock(mhz=round(mhz, 1), is_routed=False, source=SOURCE, is_predicted=True)

    @property
    def fingerprint(self) -> str:
        """Differs whenever a candidate would have another clock."""
        fitted = [] if self.model is None else self.model.measurements
        rows = [(entry.lut4, entry.device_lut4, entry.routed_mhz) for entry in fitted]
        return repr((sorted((name, c.mhz) for name, c in self.presets.items()), rows))

    @cached_property
    def text(self) -> str:
        """Which clocks apply, and how good they are."""
        others = {name: clock for name, clock in self.presets.items() if name != BLOCK_RAM}
        if self.model is None or BLOCK_RAM not in self.presets:
            return clocks_text(self.presets)
        errors = [abs(entry.error) for entry in self.model.leave_one_out()]
        fills = [entry.lut4 / entry.device_lut4 for entry in self.model.measurements]
        text = (
            f"at clocks of the clock model ({len(errors)} routed designs that fill "
            f"{min(fills):.0%} to {max(fills):.0%} of their devices; each left out in turn: "
            f"{median(errors):.1%} wrong in the median, {max(errors):.1%} at most)"
        )
        return f"{text}, with an SDRAM {clocks_text(others)}" if others else text


def candidate_clocks(
    board: Board,
    memories: Iterable[str],
    area_model: AreaModel,
    measurements: Sequence[ClockMeasurement],
) -> CandidateClocks:
    """The clocks of a board's candidates, which have one of ``memories``.

    The model needs designs that were routed on the board's device, and one measurement more than it
    is fitted on, so that its error is known.
    """
    presets = board_clocks(board, memories)
    is_measured = any(entry.device_lut4 == board.lut4 for entry in measurements)
    if not is_measured or len(measurements) <= LEAST_CLOCKS:
        return CandidateClocks(presets)
    return CandidateClocks(
        presets,
        model=ClockModel(measurements),
        device_lut4=board.lut4,
        placed_per_lut4=area_model.placed_per_lut4,
    )
