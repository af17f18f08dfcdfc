"""Clocks of candidates: from the model on devices that it was measured on, else the preset's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.candidate_clocks import candidate_clocks
from sim.explore.clocks import LEAST_CLOCKS, ClockMeasurement, ClockModel
from sim.explore.fields import BLOCK_RAM, EXTERNAL_MEMORIES, with_external_memory
from tests.sim.explore.questions import model

TARGET = board("ulx3s-12f")


def measurements(count: int = LEAST_CLOCKS + 1) -> list[ClockMeasurement]:
    """Designs on the 12F that are slower the more of it they fill."""
    return [
        ClockMeasurement(
            config=replace(preset("tiny"), name=f"clock-{index}"),
            board="ulx3s-12f",
            seed=1,
            asked_mhz=50.0,
            routed_mhz=80.0 - 2 * index - (index % 2),
            lut4=10_000 + 1_000 * index,
            device_lut4=TARGET.lut4,
            seconds=1.0,
            sources="00000000",
            yosys="0",
            nextpnr="0",
            amaranth="0",
        )
        for index in range(count)
    ]


def test_a_measured_device_has_the_clock_that_the_model_says_for_the_placed_area():
    data = measurements()
    clocks = candidate_clocks(TARGET, EXTERNAL_MEMORIES, model(), data)
    config = preset("tiny")
    area = model().predict(config)
    clock = clocks.clock(config, area)
    placed = area.lut4_total * model().placed_per_lut4
    assert clock.mhz == round(ClockModel(data).predict(placed, TARGET.lut4), 1)
    assert (clock.is_predicted, clock.is_routed, clock.kind) == (True, False, "predicted")
    larger = replace(config, array=replace(config.array, columns=8))
    assert clocks.clock(larger, model().predict(larger)).mhz < clock.mhz


def test_with_an_sdram_the_clock_is_that_of_the_preset():
    clocks = candidate_clocks(TARGET, EXTERNAL_MEMORIES, model(), measurements())
    config = with_external_memory(preset("tiny"), "16Mx16")
    clock = clocks.clock(config, model().predict(config))
    assert clock == clocks.presets["16Mx16"]
    assert not clock.is_predicted


@pytest.mark.parametrize(
    ("target", "data"),
    [(board("ulx3s-85f"), measurements()), (TARGET, measurements(LEAST_CLOCKS)), (TARGET, [])],
    ids=["other device", "error not known", "not measured"],
)
def test_without_a_model_every_candidate_has_the_clock_of_the_preset(target, data):
    clocks = candidate_clocks(target, EXTERNAL_MEMORIES, model(), data)
    config = preset("tiny")
    assert clocks.clock(config, model().predict(config)) == clocks.presets[BLOCK_RAM]
    assert "preset" in clocks.text
    assert "clock model" not in clocks.text


def test_it_is_told_how_wrong_the_model_is_on_what_it_does_not_know():
    clocks = candidate_clocks(TARGET, [BLOCK_RAM], model(), measurements())
    assert clocks.text.startswith("at clocks of the clock model (7 routed designs that fill 41% to")
    assert "SDRAM" not in clocks.text
    errors = sorted(abs(entry.error) for entry in ClockModel(measurements()).leave_one_out())
    assert f"{errors[3]:.1%} wrong in the median, {errors[-1]:.1%} at most" in clocks.text
    both = candidate_clocks(TARGET, EXTERNAL_MEMORIES, model(), measurements())
    assert "with an SDRAM at 50 MHz, the preset's clock" in both.text


def test_other_measurements_are_other_clocks_to_a_search():
    data = measurements()
    slower = [replace(data[0], routed_mhz=60.0), *data[1:]]
    fingerprints = {
        candidate_clocks(TARGET, [BLOCK_RAM], model(), rows).fingerprint
        for rows in (data, slower, [])
    }
    assert len(fingerprints) == 3
