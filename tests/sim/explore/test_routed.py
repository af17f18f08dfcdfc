"""What was routed."""

from dataclasses import replace

from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.fields import changed
from sim.explore.routed import (
    board_clock,
    is_beyond_routed,
    largest_routed,
    preset_clock,
    routed_designs,
)


def test_the_clock_of_a_preset_is_what_was_routed_or_what_it_asks_for():
    target = board("ulx3s")
    config = preset(target.preset)
    clock = preset_clock(config)
    assert (clock.mhz, clock.is_routed, clock.source) == (61.9, True, "preset ulx3s-85f")
    asked = preset_clock(config, [])
    assert (asked.mhz, asked.is_routed) == (config.clock_mhz, False)


def test_the_clock_of_a_board_with_sdram_is_that_of_its_preset_with_sdram():
    target = board("ulx3s")
    assert board_clock(target, has_sdram=False) == preset_clock(preset("ulx3s-85f"))
    assert board_clock(target, has_sdram=True) == preset_clock(preset("ulx3s-85f-sdram"))
    assert board_clock(target, has_sdram=True).mhz == 50.4


def test_routed_presets_are_as_they_are_now():
    for design in routed_designs():
        if design.preset:
            array = preset(design.preset).array
            assert replace(design.array, count_width=array.count_width) == array


def test_what_was_stopped_does_not_count_as_routed():
    target = board("ulx3s")
    assert largest_routed(target) == 6144
    larger = changed(preset("ulx3s-85f"), {"granules": 4}, name="larger")
    assert is_beyond_routed(larger, target)
    assert not is_beyond_routed(preset("ulx3s-85f"), target)
