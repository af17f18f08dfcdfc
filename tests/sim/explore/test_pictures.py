"""Pictures: there, not empty, and the same whenever the figures are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sim.explore.choice import choose, look_closely
from sim.explore.pictures import draw_area, draw_front, draw_parallel
from sim.explore.question import Question
from tests.sim.explore.questions import SPACE, judge, network, small_result

JUDGE = judge(Question(space=SPACE, objectives=("cycles", "lut4")))


def chosen():
    front = small_result().front
    return look_closely(front, choose(front, 2), network(), model="net")


DRAWINGS = {
    "front": lambda path: draw_front(JUDGE, small_result(), chosen(), path),
    "parallel": lambda path: draw_parallel(JUDGE, small_result(), path),
    "area": lambda path: draw_area(JUDGE, chosen(), path),
}


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_pictures_show_something_and_do_not_change(name, tmp_path):
    for copy in ("one.png", "two.png"):
        DRAWINGS[name](tmp_path / copy)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    assert min(picture.shape[:2]) > 150
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_points_of_the_front_are_drawn_in_their_colour(tmp_path):
    DRAWINGS["front"](tmp_path / "front.png")
    picture = np.asarray(Image.open(tmp_path / "front.png").convert("RGB"))
    assert (picture == (0xD5, 0x5E, 0x00)).all(axis=2).sum() > 30
