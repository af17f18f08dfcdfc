"""The report: what scripts read from the file, and what people read on the console."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hw.config import PRESETS
from sim.check import LOGITS, Mismatch
from sim.job import ImageResult
from sim.report import Report, make_report, print_report
from tests.sim.standin import stand_in

CONFIG = PRESETS["tiny"]
MISMATCH = Mismatch(
    layer="second", tensor="scores", channel=2, y=0, x=0, expected=5, got=6, cycle=77
)


def result(image: int, wrong: int = 0) -> ImageResult:
    names = (("first", 100, 216, 0), ("second", 60, 6, wrong), (LOGITS, 0, 3, 0))
    return ImageResult(
        image=image,
        cycles=160,
        seconds=0.5,
        logits=[1, 7, 3],
        counters=list(range(8)),
        layers=[
            {"name": n, "cycles": c, "values_compared": v, "values_mismatched": w}
            for n, c, v, w in names
        ],
        mismatch=MISMATCH.to_dict() if wrong else None,
    )


def report(results: list[ImageResult], labels: list[int | None] | None = None) -> Report:
    return make_report(
        stand_in(CONFIG).program,
        CONFIG,
        results,
        model="net",
        simulator="verilator",
        labels=labels or [1, None],
        golden_logits=[[1, 7, 3], [9, 7, 3]],
    )


def text_of(content: Report) -> str:
    text = io.StringIO()
    print_report(content, Console(file=text, width=160))
    return text.getvalue()


def test_file_has_the_promised_keys(tmp_path: Path) -> None:
    content = report([result(0), result(1)])
    saved = json.loads(content.save(tmp_path).read_text())
    assert saved["passed"] is True
    assert saved["values_compared"] == 2 * 225
    assert saved["cycles_per_image"] == 160
    assert saved["simulated_cycles_per_second"] == 320
    assert saved["utilization"] == pytest.approx(3000 / (160 * 128))
    assert saved["predictions_rtl"] == [1, 1]
    assert saved["predictions_golden"] == [1, 0]
    assert saved["labels"] == [1, None]
    assert saved["counters"]["wait_drain"] == 3
    layer = saved["layers"][1]
    assert (layer["name"], layer["cycles"], layer["values_compared"]) == ("second", 60, 12)
    assert layer["utilization"] == pytest.approx(2000 / (60 * 128))
    assert not list(tmp_path.glob("*.part"))


def test_console_shows_layers_classes_and_verdict() -> None:
    text = text_of(report([result(0), result(1)]))
    for part in (
        "3x4x6",
        "W2 A3",
        "26.0%",
        "14.6%",
        "dog",
        "cat",
        "1 of 1 images",
        "PASSED: all 450",
    ):
        assert part in text


def test_mismatch_fails_and_is_named() -> None:
    content = report([result(0), result(1, wrong=2)])
    assert not content.passed
    assert content.mismatch == f"image 1, {MISMATCH}"
    text = text_of(content)
    assert "FAILED: 2 of 450" in text
    assert "FIRST MISMATCH: image 1, layer second, tensor scores, channel 2" in text


def test_run_with_an_error_does_not_pass() -> None:
    trapped = replace(result(0), error="run must not trap", logits=[], counters=[])
    content = report([trapped])
    assert not content.passed
    assert content.images == 0
    assert content.error == "image 0: run must not trap"
    assert "none" in text_of(content)


def test_report_without_images_does_not_pass() -> None:
    content = report([], labels=[])
    assert not content.passed
    assert "FAILED" in text_of(content)
