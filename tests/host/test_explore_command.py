"""The command ``lqfpga explore``, on a small model and a small space."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

import host.confirmation
import host.exploration
from golden.export import model_bytes
from golden.random_models import random_model
from host.bitstream import TimingError
from host.cli import cli
from host.confirmation import Confirmation, confirm, confirmed_table, print_confirmed
from host.tools import ToolError
from hw.board.ulx3s import board
from hw.config import preset
from hw.link.protocol import LinkIdentity
from sim.explore.candidate_clocks import candidate_clocks
from sim.explore.clocks import read_clocks
from sim.explore.evaluation import evaluate
from sim.explore.fields import BLOCK_RAM
from sim.profile import Clock
from tests.host.measured import fake
from tests.sim.explore.questions import LIMITS, judge, model, network

SPACE = """
base = "tiny"
objectives = ["cycles", "lut4"]
[space]
columns = [2, 4]
drain_lanes = [1, 4]
"""
BATCHES = """
base = "tiny"
objectives = ["cycles", "latency_ms"]
fit = []
[space]
batch = [1, 2, 4]
"""
MEMORIES = """
base = "tiny"
[space]
external_memory = ["block RAM", "16Mx16"]
"""
PRODUCTS = {
    *("report.html", "candidates.csv", "front.csv", "front.tex"),
    *("front.png", "parallel.png", "area.png", "outcomes.db"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(model_bytes(random_model(3, LIMITS)))
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def run(*arguments):
    command = ["explore", "net.onnx", "--board", "ulx3s-12f", "--jobs", "1", *arguments]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli, command)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_writes_the_report_its_pictures_and_tables(folder):
    result = run("--space", "space.toml")
    assert result.exit_code == 0
    out = folder / "build" / "explore"
    assert {path.name for path in out.iterdir()} > PRODUCTS
    rows = list(csv.DictReader(io.StringIO((out / "candidates.csv").read_text())))
    assert len(rows) == 4
    assert [row["problems"] != "" for row in rows] == [False, True, False, False]
    assert "4 points (all points), 3 feasible" in result.stdout
    assert candidate_clocks(board("ulx3s-12f"), [BLOCK_RAM], model(), read_clocks()).text in (
        result.stdout
    )
    again = run("--space", "space.toml")
    assert "0 evaluated now" in again.stdout


def test_points_with_block_ram_and_with_sdram_have_clocks_of_their_own(folder):
    (folder / "space.toml").write_text(MEMORIES)
    result = run("--space", "space.toml", "--board", "ulx3s")
    assert "61.9 MHz with block RAM (routed: preset ulx3s-85f)" in result.stdout
    assert "50.4 MHz with 16Mx16 (routed: preset ulx3s-85f-sdram)" in result.stdout
    text = (folder / "build" / "explore" / "candidates.csv").read_text()
    rows = {row["external_memory"]: row for row in csv.DictReader(io.StringIO(text))}
    for memory, mhz in {"block RAM": 61.9, "16Mx16": 50.4}.items():
        cycles = int(rows[memory]["cycles"])
        assert rows[memory]["images_per_second"] == f"{mhz * 1e6 / cycles:.6g}"


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (SPACE + "[limits]\nlut4 = 9000", (), "none of 4 candidates is feasible; the nearest is"),
        ("[space]\ncolumns = [3]", (), "space.columns must not have the value 3"),
        (SPACE, ("--board", "ulx4"), "board must be one of ulx3s-12f"),
    ],
)
def test_bad_input_is_one_line(folder, space, arguments, message):
    (folder / "space.toml").write_text(space)
    result = run("--space", "space.toml", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_batches_of_one_accelerator_are_confirmed_once(folder, monkeypatch):
    made = []

    def note(candidate, number, *arguments, **options):
        made.append(number)
        return Confirmation(number=number, candidate=candidate, lut4=12_345)

    monkeypatch.setattr(host.exploration, "confirm", note)
    (folder / "space.toml").write_text(BATCHES)
    result = run("--space", "space.toml", "--confirm", "3")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO((folder / "build/explore/front.csv").read_text())))
    assert len(rows) > 1
    assert len({row["batch"] for row in rows}) == len(rows)
    assert made == [1]
    assert result.stdout.count("12,345") == len(rows)
    assert "batch" in result.stdout


def candidate():
    return judge().judge({}, preset("tiny"), evaluate(network(), preset("tiny")))


def test_a_confirmation_by_synthesis_has_the_real_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(host.confirmation, "measure", fake)
    made = candidate()
    real = confirm(made, 2, "ulx3s-12f", board("ulx3s-12f"), route=False, out=tmp_path)
    assert (real.lut4, real.ff, real.block_ram, real.multipliers) == (
        77,
        55,
        3,
        2,
    )  # 7 and 5 of each block
    assert real.images_per_second is None
    (row,) = confirmed_table([real]).rows
    assert row[:4] == [
        "2",
        f"{made.area.lut4_total:,.0f}",
        "77",
        f"{made.area.lut4_total / 77 - 1:+.1%}",
    ]
    text = io.StringIO()
    print_confirmed([real], Console(file=text, width=100))
    assert "LUT4 of the synthesis" in text.getvalue()


@pytest.mark.parametrize("failure", [ToolError("yosys failed"), TimingError("clock must reach")])
def test_what_the_tools_refuse_is_a_result(tmp_path, monkeypatch, failure):
    def refuse(*arguments, **options):
        raise failure

    monkeypatch.setattr(host.confirmation, "build", refuse)
    statistics = tmp_path / "work" / "yosys.stat.json"
    statistics.parent.mkdir()
    statistics.write_text('{"design": {"num_cells_by_type": {"LUT4": 3, "CCU2C": 4}}}')
    real = confirm(candidate(), 1, "ulx3s-12f", board("ulx3s-12f"), route=True, out=tmp_path)
    assert real.failure == str(failure)
    assert real.clock_mhz is None
    assert real.lut4 == (11 if isinstance(failure, TimingError) else None)
    assert str(failure) in confirmed_table([real]).rows[0]


def test_a_point_is_routed_under_a_name_that_the_design_can_hold(tmp_path, monkeypatch):
    names = []

    def note(*arguments, config, **options):
        array = config.array
        shape = {"rows": array.rows, "columns": array.columns, "lanes": array.lanes}
        names.append(LinkIdentity(preset=config.name, fingerprint=0, build=0, **shape).preset)
        raise ToolError("enough")

    monkeypatch.setattr(host.confirmation, "build", note)
    made = candidate()
    made = replace(made, config=replace(made.config, name="ulx3s-45f columns=4 granules=3"))
    confirm(made, 12, "ulx3s-12f", board("ulx3s-12f"), route=True, out=tmp_path)
    assert names == ["point12"]


def test_images_per_second_are_those_of_the_routed_clock():
    made = candidate()
    real = Confirmation(number=1, candidate=made, clock_mhz=61.5)
    assert real.images_per_second == pytest.approx(61.5e6 / made.metrics["cycles"])


def test_a_predicted_clock_stands_beside_the_one_that_was_reached():
    clock = Clock(mhz=66.0, is_routed=False, source="clock model", is_predicted=True)
    made = replace(candidate(), clock=clock)
    entries = [
        Confirmation(number=1, candidate=made, clock_mhz=60.0),
        Confirmation(number=2, candidate=made),
        Confirmation(number=3, candidate=candidate(), clock_mhz=60.0),
    ]
    table = confirmed_table(entries)
    place = table.headings.index("MHz predicted")
    assert [row[place : place + 3] for row in table.rows] == [
        ["66.0", "60.0", "+10.0%"],
        ["66.0", "not routed", ""],
        ["", "60.0", ""],
    ]
    assert all(len(row) == len(table.headings) for row in table.rows)
    text = io.StringIO()
    print_confirmed(entries[:1], Console(file=text, width=100))
    assert re.search(r"clock, MHz +66\.0 +60\.0 +\+10\.0%", text.getvalue())
