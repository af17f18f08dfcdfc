"""``make sim-large``: cases, what is known and not run again, what cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

import sim.large
from hw.config import PRESETS
from sim.large import CASES, Case, main, run_cases

SMALL = Case("resnet20", 1, 1, "ulx3s-85f", image_size=8)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Presets that were simulated: no simulator is built."""
    seen: list[str] = []

    def simulate(model: Path, images: Path, *, preset_name: str, **_: object) -> object:
        assert model.exists()
        assert images.exists()
        seen.append(preset_name)
        return SimpleNamespace(
            passed=True,
            cycles_per_image=5000,
            seconds={"simulate": 2.0},
            simulated_cycles_per_second=2500.0,
            save=lambda folder: None,
        )

    monkeypatch.setattr(sim.large, "simulate", simulate)
    return seen


def test_cases_are_those_of_the_paper_each_at_two_widths() -> None:
    assert len({(case.name, case.preset) for case in CASES}) == len(CASES)
    assert {case.preset for case in CASES} <= set(PRESETS)
    networks = {case.network for case in CASES}
    assert len(networks) == 7
    for network in networks:
        assert len({case.name for case in CASES if case.network == network}) == 2


def test_a_case_that_has_passed_is_not_run_again(tmp_path: Path, runs: list[str]) -> None:
    console = Console(quiet=True)
    failures: list[str] = []
    first = run_cases([SMALL], tmp_path, console, failed=failures.append)
    again = run_cases([SMALL], tmp_path, console, failed=failures.append)
    assert again == first
    assert runs == ["ulx3s-85f"]
    assert not failures
    outcome = first[0]
    assert outcome.cycles == 5000
    assert outcome.images_per_second == PRESETS[SMALL.preset].clock_mhz * 1e6 / 5000
    assert outcome.words == sum(outcome.moved.values()) > 0
    # Another program is another run.
    path = tmp_path / SMALL.name / "outcome-ulx3s-85f.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"program": "of before"}))
    run_cases([SMALL], tmp_path, console, failed=failures.append)
    assert runs == ["ulx3s-85f"] * 2


def test_what_does_not_fit_is_told_and_the_others_go_on(tmp_path: Path, runs: list[str]) -> None:
    failures: list[str] = []
    large = replace(SMALL, preset="tiny")
    outcomes = run_cases([large, SMALL], tmp_path, Console(quiet=True), failed=failures.append)
    assert [outcome.preset for outcome in outcomes] == [SMALL.preset]
    assert len(failures) == 1
    assert failures[0].startswith(f"{large.name} on tiny: ")
    assert "must fit" in failures[0]


def test_an_unknown_network_is_one_line() -> None:
    result = CliRunner(env={"COLUMNS": "500"}).invoke(main, ["resnet19"])
    assert result.exit_code == 2
    assert result.output.startswith("error: network must be one of googlenet-variant-w2a2, ")
    assert result.output.count("\n") == 1


def test_the_list_names_every_case() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["--list"])
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        [case.name, case.preset] for case in CASES
    ]
