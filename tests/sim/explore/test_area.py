"""The area model against the measurements that it comes from."""

from __future__ import annotations

from statistics import median

import pytest

from hw.config import preset
from sim.explore.area import AreaModel, AreaModelError
from sim.explore.area_features import element_lut4
from sim.explore.fields import changed, with_external_memory
from sim.explore.measurements import BLOCKS, block_of, read_measurements
from sim.explore.memories import Cells, mapped, memories_of

MEASUREMENTS = read_measurements()
NAMES = [entry.config.name for entry in MEASUREMENTS]


@pytest.mark.parametrize("entry", MEASUREMENTS, ids=NAMES)
def test_block_rams_multipliers_and_elements_are_exact(entry):
    array = entry.config.array
    cells = memories_of(entry.config).values()
    assert sum(memory.block_rams for memory in cells) == entry.block_ram
    assert entry.config.multipliers == entry.multipliers
    elements = (array.rows + 1) * array.columns
    assert elements * element_lut4(array.lanes, array.count_width) == entry.lut4["elements"]


def test_left_out_configurations_are_predicted_within_a_few_percent():
    errors = AreaModel(MEASUREMENTS).leave_one_out()
    assert [error.name for error in errors] == NAMES
    assert median(abs(error.lut4_error) for error in errors) <= 0.015
    assert all(error.block_ram[0] == error.block_ram[1] for error in errors)


@pytest.mark.parametrize(
    ("name", "block_rams", "multipliers"),
    [("ulx3s-12f", 47, 12), ("ulx3s-85f", 180, 48), ("ulx3s-85f-sdram", 180, 48)],
)
def test_presets_have_the_block_rams_that_were_placed(name, block_rams, multipliers):
    area = AreaModel(MEASUREMENTS).predict(preset(name))
    assert (area.block_ram, area.multipliers) == (block_rams, multipliers)
    assert set(area.lut4) == set(area.ff) == set(BLOCKS)


def test_spilled_vectors_and_the_controller_of_an_sdram_take_what_block_ram_does_not():
    model, block = AreaModel(MEASUREMENTS), preset("ulx3s-12f")
    base = with_external_memory(block, "16Mx16")
    bare = changed(base, {"spill_vectors": 0}, name="no spill")
    areas = [model.predict(config) for config in (block, bare, base)]
    assert areas[0].lut4["SDRAM"] == areas[0].ff["SDRAM"] == 0
    assert [area.lut4_total for area in areas] == sorted(area.lut4_total for area in areas)
    # 8 of external memory; 2 for 512 vectors of 72 bits.
    assert [area.block_ram - areas[0].block_ram for area in areas] == [0, -8, -6]


def test_more_of_anything_takes_more():
    model, base = AreaModel(MEASUREMENTS), preset("ulx3s-12f")
    small = model.predict(base).lut4_total
    for sizes in ({"rows": 8}, {"columns": 16}, {"granules": 3}, {"drain_lanes": 4}):
        assert model.predict(changed(base, sizes, name="larger")).lut4_total > small


def test_too_few_measurements_are_refused():
    with pytest.raises(AreaModelError, match="must have at least . measurements, not 2: run"):
        AreaModel(MEASUREMENTS[:2])


@pytest.mark.parametrize(
    ("memory", "cells"),
    [
        # Depth and width as synthesis mapped them (yosys.log of tiny and ulx3s-12f).
        (mapped(8192, 32), Cells(block_rams=16)),
        (mapped(4096, 8, lanes=2), Cells(block_rams=2)),
        (mapped(4096, 4, is_dual=True), Cells(block_rams=1)),
        (mapped(128, 8), Cells(distributed=16, multiplexers=56)),
        (mapped(256, 8), Cells(block_rams=1)),
        (mapped(32, 128), Cells(distributed=64, multiplexers=128)),
        (mapped(1024, 72), Cells(block_rams=4)),
        (mapped(512, 18, count=4), Cells(block_rams=4)),
    ],
)
def test_memories_are_mapped_as_synthesis_does(memory, cells):
    assert memory == cells


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("core.accelerator.compute.array.element_0_0", "elements"),
        ("core.accelerator.compute.drain.lane_0_0", "drain lanes"),
        ("core.accelerator.compute", "compute"),
        ("core.accelerator.post.chain.shifting_0", "post"),
        ("core.external", "memories"),
        ("core.external.words", "memories"),
        ("core.link", "host link"),
        ("top", "host link"),
    ],
)
def test_modules_belong_to_blocks(module, block):
    assert block_of(module) == block


def test_an_external_memory_that_is_an_sdram_is_a_block_of_its_own():
    assert block_of("core.external", "16Mx16") == "SDRAM"
    assert block_of("core.accelerator.arbiter", "16Mx16") == "memories"
    assert block_of("core.link", "16Mx16") == "host link"
