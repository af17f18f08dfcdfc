"""The report's page: its data, and what Chromium makes of it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from sim.explore.choice import choose, look_closely
from sim.explore.page import NOT_CONFIRMED, ConfirmedTable, report_page
from sim.explore.question import Question
from sim.profile_pictures import COLOURS
from tests.sim.explore.browser import find_chromium, open_chromium
from tests.sim.explore.questions import SPACE, judge, network, small_result

FRONT, FEASIBLE = "#d55e00", "#56b4e9"
CONFIRMED = ConfirmedTable(("point", "real"), [("1", "12,345")])


def page(title="net on a board", confirmed=NOT_CONFIRMED):
    result = small_result()
    chosen = look_closely(result.front, choose(result.front, 2), network(), model="net")
    return report_page(
        judge(Question(space=SPACE, objectives=("cycles", "lut4"))),
        result,
        chosen,
        title=title,
        caption="at 50 MHz",
        counts="8 points",
        confirmed=confirmed,
    )


def content(text):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_page_holds_every_candidate_and_loads_nothing():
    text = page()
    data = content(text)
    assert len(data["candidates"]) == 8
    front = sorted(c["front"] for c in data["candidates"] if c["front"])
    assert front == list(range(1, len(small_result().front) + 1))
    assert [c["front"] for c in data["chosen"]] == [1, len(front)]
    for layer in data["chosen"][0]["layers"]:
        assert sum(layer["causes"]) == layer["cycles"]
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=|<link|@import", outside)


def test_a_title_cannot_end_the_data():
    title = "</script><script>alert(1)</script>"
    text = page(title)
    assert "<script>alert" not in text
    assert content(text)["title"] == title


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: neither on the path nor named by the environment's CHROMIUM")
    with open_chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browse(chromium, tmp_path):
    def opened(text):
        (tmp_path / "report.html").write_text(text)
        return chromium.open(tmp_path / "report.html")

    return opened


def pixels(picture, colour):
    """How many pixels have exactly a colour such as #d55e00."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.asarray(picture) == wanted).all(axis=2).sum())


def test_chromium_draws_all_parts_without_an_error_and_off_line(browse, tmp_path):
    view = browse(page(confirmed=CONFIRMED))
    assert view.problems == []
    assert view.requests == [(tmp_path / "report.html").as_uri()]
    assert view.value("document.documentElement.dataset.ready") == "1"
    compiled = [c for c in small_result().candidates if c.metrics]
    assert view.value("document.querySelectorAll('#front circle').length") >= len(compiled)
    for part in ("parallel", "area", "layers", "roofline"):
        assert view.value(f"document.getElementById('{part}').children.length") > 3, part
    assert "12,345" in view.value("document.getElementById('confirmed').innerText")

    picture = view.picture()
    assert picture.width >= 1100
    assert picture.height > 1500  # all of the page, not a window of it
    shown = [colour for colour in COLOURS.values() if pixels(picture, colour) > 300]
    assert len(shown) >= 3  # bars of the layers
    assert pixels(picture, FRONT) > 100
    assert pixels(picture, "#0072b2") > 300  # first block of the area's bars


def test_details_come_under_the_mouse_and_a_click_compares(browse):
    view = browse(page())
    dot = f"[...document.querySelectorAll('#front circle[fill=\"{FRONT}\"]')].at(-1)"
    assert view.value("getComputedStyle(document.getElementById('hint')).display") == "none"
    view.mouse("mouseMoved", dot)
    assert view.value("getComputedStyle(document.getElementById('hint')).display") == "block"
    assert "of the front" in view.value("document.getElementById('hint').textContent")
    columns = "document.querySelector('#comparison tr').children.length"
    before = view.value(columns)
    view.mouse("mousePressed", dot)
    view.mouse("mouseReleased", dot)
    assert abs(view.value(columns) - before) == 1
    assert view.problems == []


BREAKS = {
    "a function that does not exist": ("drawParallel();\ndraw", "noSuchFunction();\ndraw"),
    "a script that does not parse": ('"use strict";', "if ("),
    "an error on the console": ('"use strict";', '"use strict"; console.error("odd");'),
    "a file that is not there": ("<h2>Front", '<img src="no-such-file.png"><h2>Front'),
}


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_a_broken_page_is_noticed(browse, name):
    old, new = BREAKS[name]
    text = page()
    assert text.count(old) == 1
    assert browse(text.replace(old, new)).problems


def test_an_address_that_is_fetched_is_noticed(browse):
    fetched = "http://127.0.0.1:9/picture.png"  # the port of "discard": nobody listens
    assert (
        fetched in browse(page().replace("<h2>Front", f'<img src="{fetched}"><h2>Front')).requests
    )
