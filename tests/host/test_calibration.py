"""Calibration: which configurations, and that an interrupted one goes on."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

import host.calibration
from host.calibration import (
    HELD_OUT,
    block_areas,
    calibrate,
    designed_set,
    error_table,
    split,
)
from host.cli import cli
from host.tools import ToolError
from sim.explore.area import AreaModel
from sim.explore.fields import FIELDS, sizes_of
from sim.explore.measurements import read_measurements, write_measurements
from tests.host.measured import fake

QUIET = Console(file=io.StringIO())


@pytest.fixture
def measured(monkeypatch):
    """Names of what is measured; the measurement with number ``measured.fails_at`` fails."""

    class Names(list):
        fails_at = None

    names = Names()

    def measure(config, **options):
        if len(names) == names.fails_at:
            raise ToolError("yosys was stopped")
        names.append(config.name)
        return fake(config)

    monkeypatch.setattr(host.calibration, "measure", measure)
    return names


def test_the_set_varies_every_size_that_the_model_uses():
    configs = designed_set()
    assert len({config.name for config in configs}) == len(configs)
    assert [config.name for config in configs][-len(HELD_OUT) :] == list(HELD_OUT)
    sizes = [sizes_of(config) for config in configs if config.name not in HELD_OUT]
    fixed = {"coefficient_width", "accumulator_width", "stream_width", "planes_maximum"}
    for name in set(FIELDS) - fixed:
        assert len({entry[name] for entry in sizes}) > 1, name


def test_an_interrupted_calibration_goes_on(tmp_path, measured):
    path = tmp_path / "data.csv"
    names = [config.name for config in designed_set()]
    measured.fails_at = 3
    with pytest.raises(ToolError):
        calibrate(path, work=tmp_path, console=QUIET)
    assert [row.config.name for row in read_measurements(path)] == names[:3]
    measured.fails_at = None
    rows = calibrate(path, work=tmp_path, console=QUIET)
    assert measured == names
    assert [row.config.name for row in rows] == names
    assert calibrate(path, work=tmp_path, console=QUIET) == read_measurements(path)
    assert measured == names


def test_only_what_begins_so_is_measured_and_the_rest_is_kept(tmp_path, measured, monkeypatch):
    path = tmp_path / "data.csv"
    calibrate(path, work=tmp_path, console=QUIET)
    monkeypatch.setattr(host.calibration, "source_hash", lambda: 1)
    del measured[:]
    rows = calibrate(path, only="sdram-", work=tmp_path, console=QUIET)
    wanted = [config for config in designed_set() if config.sdram is not None]
    assert measured == [config.name for config in wanted]
    assert [row.config.name for row in rows] == [config.name for config in designed_set()]
    kept = read_measurements(path)
    assert [row.config.sdram for row in kept] == [config.sdram for config in designed_set()]


def test_the_command_refuses_a_name_that_nothing_begins_with(tmp_path, measured):
    data = tmp_path / "data.csv"
    write_measurements(data, [fake(config) for config in designed_set()])
    arguments = ["calibrate", "--data", str(data), "--only", "sdarm-"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    known = ", ".join(config.name for config in designed_set())
    last = result.stderr.splitlines()[-1]
    assert last == f"Error: --only must be a beginning of one of {known}, not sdarm-"
    assert measured == []


def test_an_sdram_is_measured_with_and_without_spilled_vectors():
    sizes = [config.memory for config in designed_set() if config.sdram is not None]
    assert any(memory.spill_vectors for memory in sizes)
    assert not all(memory.spill_vectors for memory in sizes)


def test_measurements_of_other_sources_are_made_again(tmp_path, measured, monkeypatch):
    path = tmp_path / "data.csv"
    calibrate(path, work=tmp_path, console=QUIET)
    count = len(measured)
    monkeypatch.setattr(host.calibration, "source_hash", lambda: 1)
    calibrate(path, work=tmp_path, console=QUIET)
    assert len(measured) == 2 * count


def test_cells_are_counted_by_block_through_all_instances():
    def module(**cells):
        return {"num_cells_by_type": cells}

    compute = "top.core.accelerator.compute"
    statistics = {
        "modules": {
            "\\top": module(**{"top.core": 1, "LUT4": 1}),
            "\\top.core": module(**{compute: 1, "top.core.link": 1, "$scopeinfo": 3}),
            "\\top.core.link": module(LUT4=5, DP16KD=2),
            f"\\{compute}": module(**{f"{compute}.array.element_0_0": 6, "TRELLIS_FF": 4}),
            f"\\{compute}.array.element_0_0": module(CCU2C=3, LUT4=1, TRELLIS_FF=2),
        }
    }
    areas = block_areas(statistics)
    assert areas["elements"] == {"LUT4": 42, "FF": 12, "block RAM": 0, "multiplier": 0}
    assert areas["compute"] == {"LUT4": 0, "FF": 4, "block RAM": 0, "multiplier": 0}
    assert areas["host link"] == {"LUT4": 6, "FF": 0, "block RAM": 2, "multiplier": 0}


def test_errors_are_shown_with_predicted_and_measured_figures():
    fitted, _ = split(read_measurements())
    model = AreaModel(fitted)
    held_out = [replace(fitted[0], config=replace(fitted[0].config, name=HELD_OUT[0]))]
    text = io.StringIO()
    Console(file=text, width=160).print(error_table(model, held_out))
    for error in model.leave_one_out():
        assert f"{error.lut4[0]:,.0f} {error.lut4[1]:,} {error.lut4_error:+.1%}" in text.getvalue()
    assert f"{HELD_OUT[0]} (held out)" in text.getvalue()
    assert "left out: median, largest" in text.getvalue()
