"""``make sim-large``: cases, what is known and not run again, what cannot be run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner
from rich.console import Console

import sim.large
from compiler.compile import compile_model
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import PRESETS
from hw.isa import Counter
from sim.cycles.model import run_program
from sim.job import ImageResult
from sim.large import CASES, Case, known_figures, main, run_cases
from sim.large_figures import Figures, Outcome, load_figures, save_summary
from sim.report import Report, make_report
from sim.traffic import traffic_of, weight_bits

SMALL = Case("resnet20", 1, 1, "ulx3s-85f", image_size=8)
CONFIG = PRESETS[SMALL.preset]
VALUES = 100
"""Compared in each layer."""
SECONDS = 2.0


def predicted(model: Path, **changes: object) -> Report:
    """A co-simulation that finds what the cycle model says, but for ``changes`` of the result."""
    program = compile_model(model, CONFIG)
    run = run_program(program, CONFIG)
    cycles = run.layer_cycles(layer.tag for layer in program.layers)
    result = ImageResult(
        image=0,
        cycles=run.cycles,
        seconds=SECONDS,
        logits=[1, 2],
        counters=[run.counters[counter] for counter in Counter],
        layers=[
            {
                "name": layer.name,
                "cycles": count,
                "values_compared": VALUES,
                "values_mismatched": 0,
            }
            for layer, count in zip(program.layers, cycles, strict=True)
        ],
        mismatch=None,
    )
    report = make_report(
        program,
        CONFIG,
        [replace(result, **changes)],
        model=model.stem,
        simulator="verilator",
        labels=[None],
        golden_logits=[[1, 2]],
    )
    report.seconds = {"simulate": SECONDS}
    return report


class Runs:
    """Stands in for the simulator, and counts what is run."""

    def __init__(self) -> None:
        self.count = 0
        self.design = "design"
        self.changes: dict[str, object] = {}

    def simulate(self, model: Path, images: Path, *, preset_name: str, **_: object) -> Report:
        assert images.exists()
        assert preset_name == SMALL.preset
        self.count += 1
        return predicted(model, **self.changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small case's model and images."""
    folder = tmp_path_factory.mktemp("made")
    sim.large.make_model(SMALL, folder / "model.onnx", Console(quiet=True))
    return folder


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Path) -> Runs:
    """No simulator is built, no Verilog made."""
    seen = Runs()
    copytree(made, tmp_path / SMALL.name)
    monkeypatch.setattr(sim.large, "simulate", seen.simulate)
    monkeypatch.setattr(sim.large, "verilog_digest", lambda config, cache: seen.design)
    return seen


def run(out: Path) -> Figures:
    """The small case."""
    failures: list[str] = []
    (figures,) = run_cases([SMALL], out, Console(quiet=True), failed=failures.append)
    assert not failures
    return figures


def test_cases_are_those_of_the_paper_each_at_two_widths() -> None:
    assert len({(case.name, case.preset) for case in CASES}) == len(CASES)
    assert {case.preset for case in CASES} <= set(PRESETS)
    networks = {case.network for case in CASES}
    assert len(networks) == 7
    for network in networks:
        assert len({case.model for case in CASES if case.network == network}) == 2


def test_cases_that_differ_in_the_batch_share_the_model() -> None:
    batches = [case for case in CASES if case.batch > 1]
    assert batches
    for case in batches:
        assert case.name != case.model
        assert case.model in {single.name for single in CASES if single.batch == 1}


def test_a_case_with_equal_values_is_not_run_again(tmp_path: Path, runs: Runs) -> None:
    first = run(tmp_path)
    assert run(tmp_path) == first
    assert runs.count == 1
    assert first.passed
    # Another program is another run, and so is another design.
    path = tmp_path / SMALL.name / "outcome-ulx3s-85f.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"program": "of before"}))
    assert run(tmp_path) == first
    assert runs.count == 2
    runs.design = "another design"
    assert run(tmp_path) == first
    assert runs.count == 3
    # So is a file of another version.
    path.write_text("{}")
    assert run(tmp_path) == first
    assert runs.count == 4


def test_a_case_with_other_values_is_run_again(tmp_path: Path, runs: Runs) -> None:
    runs.changes = {"error": "run must not trap"}
    failed = run(tmp_path)
    assert not failed.passed
    assert failed.difference == "image 0: run must not trap"
    runs.changes = {}
    assert run(tmp_path).passed
    assert runs.count == 2


def test_other_cycles_than_predicted_do_not_pass_nor_run_again(tmp_path: Path, runs: Runs) -> None:
    """The RTL would say the same: only a cycle model that is mended makes a difference."""
    cycles = run(tmp_path).cycles
    runs.design, runs.changes = "another", {"cycles": cycles + 1}
    for _ in range(2):
        figures = run(tmp_path)
        assert not figures.passed
        assert figures.difference == f"the run took {cycles + 1:,} cycles, not {cycles:,}"
    assert runs.count == 2
    path = tmp_path / SMALL.name / "outcome-ulx3s-85f.json"
    outcome = Outcome.load(path)
    assert outcome is not None
    layers = [outcome.layer_cycles[0] - 3, *outcome.layer_cycles[1:]]
    replace(outcome, layer_cycles=layers).save(path)
    assert (run(tmp_path).difference or "").startswith("layer conv0 took ")
    counters = outcome.counters | {"dma_busy": 7}
    replace(outcome, counters=counters).save(path)
    assert (run(tmp_path).difference or "").startswith("counter dma_busy was 7, not ")
    assert runs.count == 2


def test_figures_are_those_of_program_and_run(tmp_path: Path, runs: Runs) -> None:
    figures = run(tmp_path)
    model = tmp_path / SMALL.name / "model.onnx"
    network, program = lower(import_model(model)), compile_model(model, CONFIG)
    traffic = traffic_of(program, network, CONFIG)
    macs = sum(layer.binary_macs for layer in program.layers)
    assert figures.values == VALUES * len(program.layers)
    assert figures.images_per_second == CONFIG.clock_mhz * 1e6 / figures.cycles
    assert figures.array == macs / CONFIG.array.binary_macs_per_cycle / figures.cycles
    assert figures.words == traffic.total == sum(figures.moved.values())
    assert figures.traffic == traffic.ratio
    assert (
        figures.activation_words + figures.table_words
        == traffic.total - traffic.moved["instructions"]
    )
    assert figures.activation_words == 8 * 8 + CONFIG.array.rows
    assert figures.weight_bits == weight_bits(network)
    # 8 x 8 pixels of 16, 32 and 64 channels, of one bit, and streams of 18.
    assert 8 * 3 * 64 + 64 * 16 < figures.activation_bits < 19 * 21 * 64 * 16
    assert figures.seconds == SECONDS
    assert figures.simulated_cycles_per_second == figures.cycles / SECONDS


def test_each_case_leaves_its_roofline_and_the_summary_has_all(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = run(tmp_path)
    folder = tmp_path / SMALL.name / "profile-ulx3s-85f"
    files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(files) == {"report.json", "roofline.md", "profile.png", "roofline.png"}
    assert "| total |" in (folder / "roofline.md").read_text()
    run(tmp_path)
    assert files == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "roofline.png").unlink()  # interrupted before the last one
    run(tmp_path)
    assert (folder / "roofline.png").exists()
    assert load_figures(tmp_path / SMALL.name / "figures-ulx3s-85f.json") == figures
    monkeypatch.setattr(sim.large, "CASES", (SMALL, *CASES))
    assert known_figures(tmp_path) == [figures]
    save_summary(known_figures(tmp_path), tmp_path / "summary.md")
    lines = (tmp_path / "summary.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| resnet20-8-w1a1 | ulx3s-85f | ")]
    assert len(rows) == 1
    assert f" {figures.values:,} equal | {figures.cycles:,} | " in rows[0]


def test_what_does_not_fit_is_told_and_the_others_go_on(tmp_path: Path, runs: Runs) -> None:
    failures: list[str] = []
    large = replace(SMALL, preset="tiny")
    found = run_cases([large, SMALL], tmp_path, Console(quiet=True), failed=failures.append)
    assert [figures.preset for figures in found] == [SMALL.preset]
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
