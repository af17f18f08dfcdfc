"""Sizes by name."""

import pytest

from hw.config import PRESETS, AcceleratorConfig, ConfigError, preset
from sim.explore.fields import FIELDS, changed, sizes_of


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
