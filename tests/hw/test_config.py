"""Configurations are valid, or refused with the rule that they break."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from hw import isa
from hw.config import PRESETS, ArrayConfig, ConfigError, DatapathConfig, MemoryConfig, preset
from hw.isa import Opcode


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_found_by_their_name(name: str) -> None:
    assert preset(name).name == name


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    known = ", ".join(sorted(PRESETS))
    with pytest.raises(ConfigError, match=f"^preset must be one of {known}, not 'none'$"):
        preset("none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 12}, r"^array rows must be a power of two from 4 to 64, not 12$"),
        ({"rows": 128}, r"^array rows must be a power of two from 4 to 64, not 128$"),
        ({"columns": 0}, r"^array columns must be a power of two from 2 to 64, not 0$"),
        (
            {"granules": 17},
            r"^array granules must be 1 to 16, not 17$",
        ),
        ({"count_width": 17}, r"^array count width must be 8 to 16, not 17$"),
    ],
)
def test_impossible_arrays_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ArrayConfig(**change)


@pytest.mark.parametrize("name", [field.name for field in fields(MemoryConfig)])
def test_impossible_memories_are_refused(name: str) -> None:
    # No vectors to spill is a choice.
    for value in (-4 if name == "spill_vectors" else 0, 3, 1 << 25):
        with pytest.raises(ConfigError, match=rf"^memory {name} must be .*, not {value}$"):
            MemoryConfig(**{name: value})


@pytest.mark.parametrize("name", ["comparators", "patch_pixels"])
def test_impossible_datapaths_are_refused(name: str) -> None:
    for value in (0, 16):
        with pytest.raises(ConfigError, match=rf"^datapath {name} must be 1 to 15, not {value}$"):
            DatapathConfig(**{name: value})


def test_configurations_cannot_be_changed() -> None:
    config = preset("tiny")
    with pytest.raises(FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


def test_the_fingerprint_tells_sizes_apart_and_not_names() -> None:
    config = preset("tiny")
    assert replace(config, name="other", clock_mhz=1.0).fingerprint == config.fingerprint
    other = replace(config, array=replace(config.array, count_width=11))
    assert other.fingerprint != config.fingerprint


@pytest.mark.parametrize("name", PRESETS)
def test_derived_sizes_follow_from_the_array(name: str) -> None:
    config = preset(name)
    array = config.array
    assert array.lanes == array.granules * array.rows
    assert array.word_width == 2 * array.rows
    assert array.drain_period * array.drain_lanes == array.columns
    assert array.binary_macs_per_cycle == array.rows * array.columns * array.lanes
    assert array.pass_words_maximum * array.lanes < 1 << array.count_width
    assert config.multipliers == array.rows * array.drain_lanes + array.rows


@pytest.mark.parametrize("name", PRESETS)
def test_instructions_can_address_every_memory(name: str) -> None:
    memory = preset(name).memory

    def reach(opcode: Opcode, field: str) -> int:
        return 1 << isa.instruction_layout(opcode)[field].width

    assert reach(Opcode.DMA, "external") >= memory.external_words
    assert reach(Opcode.DMA, "address") >= memory.activation_words
    assert reach(Opcode.FILL, "source") >= memory.activation_words
    assert reach(Opcode.COMPUTE, "weight_base") >= memory.weight_words
    assert reach(Opcode.COMPUTE, "coefficient_base") >= memory.coefficient_words
    assert reach(Opcode.COMPUTE, "pass_first") >= memory.pass_entries
    assert reach(Opcode.COMPUTE, "stride_outer_y") >= memory.column_granules
    assert reach(Opcode.POST, "parameter_base") >= memory.parameter_words
    assert reach(Opcode.POST, "residual_base") >= memory.stream_vectors
    assert reach(Opcode.POST, "code_base") >= 2 * memory.activation_words
    assert reach(Opcode.POST_CONFIG, "threshold_base") >= memory.threshold_groups
