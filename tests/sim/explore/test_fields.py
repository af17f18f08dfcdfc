"""Sizes by name."""

from dataclasses import replace

import pytest

from hw.config import PRESETS, AcceleratorConfig, ConfigError, preset
from sim.explore.fields import (
    BLOCK_RAM,
    FIELDS,
    changed,
    external_memory,
    sizes_of,
    with_external_memory,
)

BOARDS = ("ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_sizes_make_the_same_configuration_again(name):
    config = preset(name)
    again = changed(AcceleratorConfig(name="other"), sizes_of(config), name=name)
    assert again.fingerprint == config.fingerprint
    assert list(sizes_of(config)) == list(FIELDS)


def test_changes_only_what_is_named():
    config = changed(preset("tiny"), {"columns": 8, "weight_words": 64}, name="new")
    assert (config.array.columns, config.memory.weight_words) == (8, 64)
    sizes = sizes_of(config) | {"columns": 4, "weight_words": 2048}
    assert sizes == sizes_of(preset("tiny"))
    assert config.name == "new"


@pytest.mark.parametrize("name", [*BOARDS])
def test_another_external_memory_makes_the_preset_with_sdram_and_back(name):
    base = preset(name)
    made = with_external_memory(base, "16Mx16")
    assert replace(made, name=f"{name}-sdram") == preset(f"{name}-sdram")
    assert external_memory(made) == "16Mx16"
    back = changed(
        with_external_memory(made, BLOCK_RAM),
        {"external_words": base.memory.external_words},
        name=name,
    )
    assert back == base
    assert with_external_memory(base, BLOCK_RAM) == base
    larger = with_external_memory(made, "32Mx16").memory
    assert (larger.external_words, larger.spill_vectors) == (1 << 24, made.memory.spill_vectors)


@pytest.mark.parametrize("base", ["ulx3s-85f", "ulx3s-85f-sdram"])
@pytest.mark.parametrize(
    ("sizes", "spilled"),
    [
        ({}, 1024),
        ({"rows": 4}, 512),
        ({"rows": 32}, 0),
        ({"stream_vectors": 512}, 512),
        ({"stream_vectors": 1 << 16}, 0),
        ({"rows": 4, "spill_vectors": 1024}, 1024),
        ({"spill_vectors": 0}, 0),
    ],
)
def test_vectors_are_spilled_as_presets_with_the_rows_do_unless_told(base, sizes, spilled):
    made = with_external_memory(preset(base), "16Mx16", sizes)
    assert made.memory.spill_vectors == spilled
    assert sizes_of(made) | sizes == sizes_of(made)
    assert with_external_memory(made, BLOCK_RAM).memory.spill_vectors == 0


@pytest.mark.parametrize("name", [name for name in sorted(PRESETS) if PRESETS[name].sdram])
def test_presets_with_sdram_spill_by_that_rule(name):
    config = preset(name)
    assert with_external_memory(config, external_memory(config)) == config


def test_an_external_memory_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="must be one of block RAM, 16Mx16, 32Mx16, not DDR3"):
        with_external_memory(preset("tiny"), "DDR3")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"lanes": 8}, "size must be one of rows, columns, .*, not lanes"),
        ({"columns": 3}, "array columns must be a power of two from 2 to 64, not 3"),
    ],
)
def test_refuses(sizes, message):
    with pytest.raises(ConfigError, match=message):
        changed(preset("tiny"), sizes, name="new")
