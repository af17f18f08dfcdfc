"""The command ``lqfpga profile``, on small models."""

import json
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

import sim.cosimulation
from golden.export import model_bytes
from golden.random_models import RandomLimits, random_model
from host.cli import cli

LIMITS = RandomLimits(image=(5, 8), channels=10, planes=3, blocks=(1, 2), kernels=(1, 2, 3))
PRODUCTS = {"profile.png", "report.json", "roofline.png"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(model_bytes(random_model(3, LIMITS)))
    return tmp_path


def run(*arguments):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["profile", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_writes_a_table_a_report_and_pictures(folder):
    result = run("net.onnx", "--preset", "tiny")
    assert result.exit_code == 0
    assert {path.name for path in (folder / "build" / "profile").iterdir()} == PRODUCTS
    report = json.loads((folder / "build" / "profile" / "report.json").read_text())
    assert (report["model"], report["preset"], report["rtl"]) == ("net", "tiny", None)
    assert f"{report['cycles_per_image']:,} cycles per image" in result.output
    assert all(layer["name"] in result.output for layer in report["layers"])
    assert "asked for, not routed: preset tiny" in result.output


def test_json_is_the_report(folder):
    result = run("net.onnx", "--preset", "tiny", "--json", "--out", "here")
    assert result.stdout == (folder / "here" / "report.json").read_text()
    assert json.loads(result.stdout)["cycles_per_image"] > 0


def test_routed_clock_is_used_and_named(folder):
    report = folder / "build" / "bitstream" / "ulx3s-12f" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"preset": "tiny", "clock_reached_mhz": 61.5}))
    output = " ".join(run("net.onnx", "--preset", "tiny").output.split())
    assert "at 61.5 MHz (routed: build/bitstream/ulx3s-12f/report.json)" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.onnx"], "missing.onnx"),
        (["net.onnx", "--preset", "huge"], "preset must be one of"),
    ],
)
def test_errors_leave_nothing_behind(folder, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert not (folder / "build").exists()


@pytest.mark.slow
def test_rtl_takes_the_cycles_that_the_model_tells(folder, monkeypatch):
    result = run("net.onnx", "--preset", "tiny", "--rtl", "--images", "2", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    rtl = report["rtl"]
    assert (rtl["images"], rtl["difference"]) == (2, None)
    assert rtl["layer_cycles"] == [layer["cycles"] for layer in report["layers"]]
    assert rtl["cycles"] == report["cycles_per_image"]
    assert rtl["counters"] == report["counters"]

    # The same again, with a model that is wrong by one cycle in one counter.
    run_program = sim.cosimulation.run_program
    monkeypatch.setattr(sim.cosimulation, "run_program", partial(one_more, run_program))
    result = run("net.onnx", "--preset", "tiny", "--rtl")
    assert result.exit_code == 1
    assert "DIFFERS: image 0: counter " in result.output


def one_more(run_program, *arguments, **options):
    """A prediction that is wrong in the last counter."""
    run = run_program(*arguments, **options)
    last = list(run.counters)[-1]
    return replace(run, counters=run.counters | {last: run.counters[last] + 1})
