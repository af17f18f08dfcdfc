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


def test_a_batch_is_no_part_of_the_configuration():
    space = Space(preset("tiny"), (Dimension("columns", (2, 4)), Dimension("batch", (1, 4))))
    one, four = (space.case({"columns": 2, "batch": batch}) for batch in (1, 4))
    assert (one.batch, four.batch) == (1, 4)
    assert one.config == four.config
    assert four.config.name == "tiny columns=2"
    assert space.name({"columns": 2, "batch": 4}) == "tiny columns=2 batch=4"
    assert space.name({"columns": 4, "batch": 1}) == "tiny"
    assert SPACE.case({"columns": 2, "granules": 1, "drain_lanes": 1}).batch == 1


@pytest.mark.parametrize("base", ["tiny", "ulx3s-12f-sdram"])
def test_the_external_memory_may_be_varied(base):
    kinds = ("block RAM", "16Mx16", "32Mx16")
    space = Space(preset(base), (Dimension("external_memory", kinds),))
    assert space.has_sdram
    block, small, large = (space.configuration(point) for point in space.points())
    assert (block.sdram, block.memory.spill_vectors) == (None, 0)
    assert (small.sdram, small.memory.external_words) == ("16Mx16", 1 << 23)
    assert (large.sdram, large.memory.external_words) == ("32Mx16", 1 << 24)
    assert small.memory.spill_vectors == large.memory.spill_vectors == 512
    assert large.name == f"{base} external_memory=32Mx16"


@pytest.mark.parametrize("base", ["ulx3s-85f", "ulx3s-85f-sdram"])
def test_spilled_vectors_follow_the_sizes_of_the_point(base):
    dimensions = (
        Dimension("external_memory", ("block RAM", "16Mx16")),
        Dimension("rows", (4, 16)),
        Dimension("stream_vectors", (512, 2048)),
    )
    space = Space(preset(base), dimensions)
    spilled = [space.configuration(point).memory.spill_vectors for point in space.points()]
    assert spilled == [0, 0, 0, 0, 512, 512, 512, 1024]


@pytest.mark.parametrize("kinds", [("block RAM",), ("block RAM", "16Mx16")])
def test_a_size_may_suit_the_external_memories_of_the_points_alone(kinds):
    dimensions = (Dimension("external_memory", kinds), Dimension("stream_vectors", (512, 2048)))
    space = Space(preset("ulx3s-85f-sdram"), dimensions)
    made = space.configuration({"external_memory": "block RAM", "stream_vectors": 512})
    assert (made.memory.stream_vectors, made.memory.spill_vectors) == (512, 0)


def test_a_size_that_suits_none_of_the_external_memories_is_refused():
    dimensions = (
        Dimension("external_memory", ("block RAM", "16Mx16")),
        Dimension("stream_vectors", (512, 2048)),
        Dimension("spill_vectors", (1024,)),
    )
    with pytest.raises(
        SpaceError, match=r"stream_vectors must not have the value 512: memory spill"
    ):
        Space(preset("ulx3s-85f"), dimensions)


def test_streams_are_spilled_to_an_sdram_only():
    dimensions = (
        Dimension("external_memory", ("block RAM", "16Mx16")),
        Dimension("spill_vectors", (0, 256)),
    )
    space = Space(preset("tiny"), dimensions)
    point = {"external_memory": "16Mx16", "spill_vectors": 256}
    assert space.configuration(point).memory.spill_vectors == 256
    with pytest.raises(ConfigError, match="spill_vectors must be 0 with block RAM as external"):
        space.configuration({**point, "external_memory": "block RAM"})


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ((), "space must have at least one size to vary"),
        (
            (Dimension("lanes", (8,)),),
            "space.lanes must be batch, external_memory or a size of a .*: one of rows",
        ),
        ((Dimension("batch", (0, 1)),), "space.batch must be of images, at least 1, not 0"),
        ((Dimension("batch", ("a",)),), "space.batch must be of images, at least 1, not a"),
        (
            (Dimension("external_memory", ("DDR3",)),),
            "space.external_memory must be of block RAM, 16Mx16, 32Mx16, not DDR3",
        ),
        (
            (Dimension("external_memory", ("16Mx16",)), Dimension("external_words", (8192,))),
            "space.external_words must be left out where external_memory is varied",
        ),
        (
            (Dimension("spill_vectors", (0, 512)),),
            "space.spill_vectors must be 0 or left out without an SDRAM",
        ),
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
