"""The energy estimate: each event counts once."""

import pytest

from hw.config import preset
from sim.explore.energy import image_energy_uj
from sim.explore.evaluation import Outcome
from sim.explore.fields import with_external_memory

CONFIG = preset("tiny")
SDRAM = with_external_memory(CONFIG, "16Mx16")


def energy(config=CONFIG, images=1, array_busy=0, fill_busy=0, **events):
    counters = {"array_busy": array_busy, "fill_busy": fill_busy}
    return image_energy_uj(config, Outcome(cycles=1, images=images, counters=counters, **events))


def test_nothing_costs_nothing():
    assert energy() == 0


@pytest.mark.parametrize(
    ("events", "picojoules"),
    [
        # 4 x 4 elements of 8 lanes; 4 rows and 4 columns of operands of 8 bits
        ({"array_busy": 10}, 10 * (128 * 0.03 / 8 + 64 * 10 / 64)),
        ({"passes": 10}, 10 * 16 * (3.1 * 0.31640625 + 0.1)),
        # 8 bits read, and written to 4 columns
        ({"fill_busy": 10}, 10 * 8 * 5 * 10 / 64),
        ({"vectors": 10}, 10 * 4 * (3.1 * 0.31640625 + 0.3 + 18 * 10 / 64)),
        # read and written; instructions are only read
        ({"dma_words": 10}, 10 * 64 * 10 / 64),
        ({"instruction_words": 10}, 10 * 32 * 10 / 64),
        ({"dma_words": 10, "config": SDRAM}, 10 * 32 * (10 + 1300) / 64),
        ({"instruction_words": 10, "config": SDRAM}, 10 * 32 * 1300 / 64),
        ({"array_busy": 10, "config": SDRAM}, 10 * (128 * 0.03 / 8 + 64 * 10 / 64)),
        ({"dma_words": 10, "images": 5}, 10 * 64 * 10 / 64 / 5),
    ],
)
def test_each_kind_of_event(events, picojoules):
    assert energy(**events) == pytest.approx(picojoules / 1e6)
