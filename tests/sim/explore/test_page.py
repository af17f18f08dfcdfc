"""The report's page: its data, and what a browser makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from sim.explore.choice import choose, look_closely
from sim.explore.page import NOT_CONFIRMED, ConfirmedTable, report_page
from sim.explore.question import Question
from tests.sim.explore.questions import CLOCK, SPACE, judge, network, small_result

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CONFIRMED = ConfirmedTable(("point", "real"), [("1", "12,345")])


def page(title="net on a board", confirmed=NOT_CONFIRMED):
    result = small_result()
    chosen = look_closely(
        result.front, choose(result.front, 2), network(), model="net", clock=CLOCK
    )
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


@pytest.fixture
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on the path")
    return found


def browse(browser, tmp_path, *arguments):
    return subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1150,2600"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"),
            *arguments,
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    ).stdout


@pytest.mark.slow
def test_a_browser_draws_all_parts_without_an_error(browser, tmp_path):
    (tmp_path / "report.html").write_text(page(confirmed=CONFIRMED))
    document = browse(browser, tmp_path, "--dump-dom")
    assert 'data-errors="0"' in document
    assert 'data-ready="1"' in document
    front = re.search(r'<svg id="front".*?</svg>', document, re.DOTALL)[0]
    compiled = [c for c in small_result().candidates if c.metrics]
    assert front.count("<circle") >= len(compiled)
    for part in ("parallel", "area", "layers", "roofline"):
        assert re.search(rf'<svg id="{part}"[^>]*><', document)
    assert "12,345" in document

    browse(browser, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert picture.shape == (2600, 1150, 3)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::7]}
    assert (0xD5, 0x5E, 0x00) in colours  # points of the front


@pytest.mark.slow
def test_an_error_of_the_script_is_seen(browser, tmp_path):
    """The test above would notice."""
    broken = page().replace("drawParallel();\ndrawComparison", "noSuchFunction();\ndrawComparison")
    (tmp_path / "report.html").write_text(broken)
    document = browse(browser, tmp_path, "--dump-dom")
    assert 'data-errors="1"' in document
    assert "data-ready" not in document.split(">")[1]
