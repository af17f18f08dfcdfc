"""Points that are looked at closely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from golden.batching import batched
from hw.config import preset
from sim.explore.choice import choose, look_closely
from sim.explore.evaluation import evaluate
from sim.explore.fields import with_external_memory
from tests.sim.explore.questions import CLOCK, judge, network

POINT = {"columns": 4, "granules": 2, "drain_lanes": 1}


@pytest.mark.parametrize(
    ("front", "count", "places"),
    [(9, 3, [0, 4, 8]), (3, 5, [0, 1, 2]), (4, 1, [0]), (0, 3, []), (5, 5, [0, 1, 2, 3, 4])],
)
def test_chosen_points_lie_evenly(front, count, places):
    assert choose([None] * front, count) == places


def candidate():
    return judge().judge(POINT, preset("tiny"), evaluate(network(), preset("tiny")))


def test_a_chosen_point_is_profiled_with_the_cycles_of_the_search():
    (chosen,) = look_closely([candidate()], [0], network(), model="net")
    assert chosen.number == 1
    assert chosen.profile.cycles_per_image == candidate().metrics["cycles"]
    assert sum(layer.cycles for layer in chosen.profile.layers) <= chosen.profile.cycles_per_image


def test_a_batch_is_compiled_and_profiled_as_one():
    outcome = evaluate(batched(network(), 2), preset("tiny"))
    made = judge().judge({**POINT, "batch": 2}, preset("tiny"), outcome)
    (chosen,) = look_closely([made], [0], network(), model="net")
    assert (chosen.profile.batch, chosen.profile.cycles) == (2, outcome.cycles)
    assert chosen.profile.cycles_per_image == made.metrics["cycles"]
    assert chosen.profile.images_per_second == made.metrics["images_per_second"]


def test_a_chosen_point_is_profiled_at_its_clock():
    config = with_external_memory(preset("tiny"), "16Mx16")
    made = judge().judge(POINT, config, evaluate(network(), config))
    made = replace(made, clock=replace(CLOCK, mhz=25.0))
    block, sdram = look_closely([candidate(), made], [0, 1], network(), model="net")
    assert (block.profile.clock.mhz, sdram.profile.clock.mhz) == (50.0, 25.0)


def test_other_cycles_than_in_the_search_are_a_defect():
    made = candidate()
    made = replace(made, outcome=replace(made.outcome, cycles=made.outcome.cycles + 1))
    with pytest.raises(ValueError, match="must take .* cycles as in the search, not"):
        look_closely([made], [0], network(), model="net")
