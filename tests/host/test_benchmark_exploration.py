"""The rate of evaluations: what is drawn, what is counted, and what stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from golden.export import model_bytes
from golden.random_models import random_model
from host import benchmark_exploration
from host.benchmark_exploration import Rate, draw, main, measure, peer_text
from hw.board.ulx3s import board
from sim.explore.question import default_question
from sim.scale_sim import ScaleSimResult
from tests.sim.explore.questions import LIMITS

RATE = Rate(candidates=200, compiled=150, jobs=2, seconds=10.0, cpu_seconds=19.0)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(model_bytes(random_model(3, LIMITS)))
    return path


def test_candidates_differ_and_can_be_built():
    question = default_question(board("ulx3s"))
    drawn = draw(question, 30)
    assert len(drawn) == 30
    for dimension in question.space.dimensions:
        if len(dimension.values) > 1:
            names = {key.split(f"'{dimension.name}': ")[1].split(",")[0] for key in drawn}
            assert len(names) > 1, dimension.name
    assert list(drawn) == list(draw(question, 30))


def test_every_candidate_is_counted(model):
    rate = measure(model, "ulx3s", 5, 1)
    assert (rate.candidates, rate.jobs) == (5, 1)
    assert 0 < rate.compiled <= 5
    assert rate.seconds > 0


def test_the_text_has_the_rate_and_what_is_wanted():
    assert RATE.text.startswith("200 candidates (150 with a program) in 10.0 s on 2 jobs: 1,200 a")
    assert "95 ms of CPU each, so 1,263 a minute on free cores; at least 1,000 wanted" in RATE.text


def test_scale_sim_is_asked_for_the_array_of_the_board(model, tmp_path, monkeypatch):
    asked = []

    def run(python, network, array, folder):
        asked.append((array.rows, array.columns))
        return ScaleSimResult(15.0, (1, 2))

    monkeypatch.setattr(benchmark_exploration.scale_sim, "install", lambda folder: Path("python"))
    monkeypatch.setattr(benchmark_exploration.scale_sim, "run", run)
    text = peer_text(model, "ulx3s", tmp_path, RATE)
    assert asked == [(16, 8)]
    assert text.endswith("takes 15.0 s for one, of 16 x 8 elements: 300 candidates in that time")


@pytest.mark.parametrize(("seconds", "code"), [(10.0, 0), (13.0, 1)])
def test_too_low_a_rate_is_a_failure(monkeypatch, seconds, code):
    rate = Rate(candidates=200, compiled=150, jobs=2, seconds=seconds, cpu_seconds=19.0)
    monkeypatch.setattr(benchmark_exploration, "measure", lambda *_: rate)
    result = CliRunner().invoke(main, ["--no-peer"])
    assert result.exit_code == code
    assert f"{rate.per_minute:,.0f} a minute" in result.output
