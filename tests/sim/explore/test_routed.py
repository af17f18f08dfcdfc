"""What was routed."""

from dataclasses import replace

import pytest

from hw.board.ulx3s import board
from hw.config import preset
from sim.explore.fields import EXTERNAL_MEMORIES, changed
from sim.explore.routed import (
    board_clocks,
    clocks_text,
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


def test_each_external_memory_has_the_clock_of_the_preset_with_such_a_one():
    clocks = board_clocks(board("ulx3s"), EXTERNAL_MEMORIES)
    with_sdram = preset_clock(preset("ulx3s-85f-sdram"))
    assert clocks == {
        "block RAM": preset_clock(preset("ulx3s-85f")),
        "16Mx16": with_sdram,
        "32Mx16": with_sdram,
    }
    assert with_sdram.mhz == 50.4
    assert list(board_clocks(board("ulx3s"), ["16Mx16"])) == ["16Mx16"]


@pytest.mark.parametrize(
    ("memories", "text"),
    [
        (("block RAM",), "at 61.9 MHz, the preset's clock (routed: preset ulx3s-85f)"),
        (
            ("16Mx16", "32Mx16"),
            "at 50.4 MHz, the preset's clock (routed: preset ulx3s-85f-sdram)",
        ),
        (
            EXTERNAL_MEMORIES,
            (
                "at the presets' clocks: 61.9 MHz with block RAM (routed: preset ulx3s-85f), "
                "50.4 MHz with 16Mx16 or 32Mx16 (routed: preset ulx3s-85f-sdram)"
            ),
        ),
    ],
)
def test_it_is_told_which_clock_applies_to_what(memories, text):
    assert clocks_text(board_clocks(board("ulx3s"), memories)) == text


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
