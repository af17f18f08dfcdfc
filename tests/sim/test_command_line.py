"""The commands explain themselves, and say in one line what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sim.__main__ import main
from sim.bench import make_simulator
from sim.simulator import SimulatorError
from sim.waves import find_waveform
from sim.waves import main as waves


def test_help_shows_examples_and_exit_status() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for part in ("--images", "--preset", "Examples:", "exit status", "verilator"):
        assert part in result.output


def test_missing_model_is_an_error_without_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "no.onnx"), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.startswith("error: model file must be readable")


def test_unknown_simulator_lists_the_known() -> None:
    with pytest.raises(
        SimulatorError, match="^simulator must be one of verilator, icarus, not 'x'"
    ):
        make_simulator("x")


@pytest.mark.parametrize(
    ("name", "fix"), [("icarus", "sudo apt install iverilog"), ("verilator", "g++")]
)
def test_missing_simulator_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, name: str, fix: str
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SimulatorError, match=re.escape(fix)):
        make_simulator(name)


def test_waves_names_the_newest_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(waves, ["--out", str(tmp_path), "--no-open"])
    assert result.exit_code == 1
    assert "no waveform in" in result.output
    path = tmp_path / "waves.vcd"
    path.write_text("")
    assert find_waveform(tmp_path) == path
    result = CliRunner().invoke(waves, ["--out", str(tmp_path), "--no-open"])
    assert result.exit_code == 0
    assert result.output.strip() == str(path)
