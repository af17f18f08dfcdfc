"""Spaces: their points, and what makes no sense."""

import pytest

from hw.config import ConfigError, preset
from sim.explore.space import Dimension, Space, SpaceError
from tests.sim.explore.questions import SPACE


def test_points_are_the_product_of_the_dimensions():
    points = list(SPACE.points())
    assert len(points) == SPACE.size == 8
    assert len({tuple(point.items()) for point in points}) == 8
    assert points[0] == {"columns": 2, "granules": 1, "drain_lanes": 1}
    assert points[1] == {"columns": 2, "granules": 1, "drain_lanes": 4}


def test_a_point_becomes_a_configuration_that_is_named_after_its_changes():
    config = SPACE.configuration({"columns": 4, "granules": 1, "drain_lanes": 4})
    assert (config.array.columns, config.array.granules, config.array.drain_lanes) == (4, 1, 4)
    assert config.name == "tiny granules=1 drain_lanes=4"
    assert config.memory == preset("tiny").memory


def test_a_point_that_cannot_be_built_is_refused_alone():
    with pytest.raises(ConfigError, match="array drain lanes must be a power of two from 1 to 2"):
        SPACE.configuration({"columns": 2, "granules": 1, "drain_lanes": 4})


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ((), "space must have at least one size to vary"),
        ((Dimension("lanes", (8,)),), "space.lanes must be a size of a configuration: one of rows"),
        ((Dimension("columns", ()),), "space.columns must have at least one value"),
        ((Dimension("columns", (2, 2)),), "space.columns must not have a value twice"),
        (
            (Dimension("columns", (2, 3)),),
            "space.columns must not have the value 3: array columns must be a power of two",
        ),
        (
            (Dimension("columns", (2, 4)), Dimension("drain_lanes", (2, 8))),
            "space.drain_lanes must not have the value 8: array drain lanes must be .* 1 to 4",
        ),
        (
            (Dimension("weight_words", (16, 1 << 20)),),
            "space.weight_words must not have the value 1048576: memory weight_words must be",
        ),
    ],
)
def test_refuses_an_empty_or_contradictory_space(dimensions, message):
    with pytest.raises(SpaceError, match=message):
        Space(preset("tiny"), dimensions)
