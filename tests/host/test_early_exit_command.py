"""The command ``lqfpga early-exit``, on a small model; and that it would notice wrong bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import host.early_exit
from compiler.compile import compile_network
from compiler.early_exit import ExitPlan, exit_plan
from compiler.program_file import load_program, save_program
from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.integer_reference import classify
from golden.lowering import lower
from golden.onnx_import import import_model
from golden.random_models import random_images, random_model
from host.cli import cli
from host.early_exit import CertificateError, measure_exits
from host.labelled_images import LabelledImages
from hw.config import preset
from sim.cycles.model import run_program
from tests.compiler.prefix_models import LIMITS

SEED = 4
OPTIONS = ("--preset", "tiny", "--images", "test.npz")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = random_model(SEED, LIMITS)
    (tmp_path / "net.onnx").write_bytes(model_bytes(model))
    pixels = random_images(model, 40, SEED)
    labels = classify(lower(import_model("net.onnx")), pixels)
    np.savez("test.npz", images=pixels, labels=labels)
    return tmp_path


def run(*arguments):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["early-exit", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_steps_end_with_the_full_run_and_images_stop_before(folder):
    result = run("net.onnx", *OPTIONS, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    steps = report["steps"]
    assert [step["groups"] for step in steps] == list(range(1, len(steps) + 1))
    stopped = [step["stopped"] for step in steps]
    assert stopped == sorted(stopped)
    assert stopped[-1] == 1
    assert any(0 < share < 1 for share in stopped)
    config = preset("tiny")
    full = run_program(compile_network(lower(import_model("net.onnx")), config), config).cycles
    assert report["full_cycles"] == steps[-1]["cycles"] == full
    shares = np.diff([0, *stopped])
    mean = sum(share * step["cycles"] for share, step in zip(shares, steps, strict=True))
    assert report["mean_cycles"] == pytest.approx(mean)
    assert report["mean_cycles"] < full
    assert report["accuracy"] == 1


def test_table_says_what_is_saved(folder):
    output = " ".join(run("net.onnx", *OPTIONS).output.split())
    assert "net on tiny, 40 images" in output
    assert "less; every class that of the full run, accuracy 100.00%" in output


def test_wrong_bounds_are_noticed(folder, monkeypatch):
    def careless(network: IntegerNetwork) -> ExitPlan:
        plan = exit_plan(network)
        return ExitPlan(plan.layer, plan.groups, np.zeros_like(plan.bounds))

    monkeypatch.setattr(host.early_exit, "exit_plan", careless)
    with np.load("test.npz") as file:
        images = LabelledImages(file["images"], file["labels"])
    with pytest.raises(CertificateError, match=r"image \d+ must have class \d+, but class"):
        measure_exits(lower(import_model("net.onnx")), preset("tiny"), images, model="net")


def test_the_program_has_the_best_exit_and_a_host_that_looks_once_takes_those_cycles(folder):
    report = json.loads(run("net.onnx", *OPTIONS, "-o", "net.lqp", "--json").stdout)
    means = [step["host_cycles"] for step in report["steps"]]
    assert means.pop() is None
    program = load_program(folder / "net.lqp")
    plan = exit_plan(lower(import_model("net.onnx")))
    best = means.index(min(means))
    assert program.exits[0].bounds == tuple(map(tuple, plan.bounds[best].tolist()))
    config = preset("tiny")
    first, rest = (
        run_program(replace(program, image_entry=part.image_entry), config).cycles
        for part in program.exits
    )
    assert first <= means[best] <= first + rest
    assert run("net.onnx", *OPTIONS, "-o", "net.lqp", "--cut", "2").exit_code == 0
    program = load_program(folder / "net.lqp")
    assert program.exits[0].bounds == tuple(map(tuple, plan.bounds[1].tolist()))


def test_run_wants_a_program_with_exits(folder):
    plain = compile_network(lower(import_model("net.onnx")), preset("tiny"))
    save_program(plain, folder / "plain.lqp")
    arguments = ["run", "--port", "nowhere", "--early-exit", "plain.lqp", "a.png"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "program plain.lqp must have exits" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.onnx", *OPTIONS), "missing.onnx"),
        (("net.onnx", "--preset", "tiny", "--images", "nothing.npz"), "nothing.npz"),
    ],
)
def test_errors_are_one_line(folder, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr.splitlines()[-1]
