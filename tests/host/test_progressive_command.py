"""The command ``lqfpga progressive``, on small models."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from compiler.prefixes import compile_prefixes
from compiler.program_file import load_program, program_bytes
from golden.export import model_bytes
from golden.integer_reference import classify
from golden.lowering import lower
from golden.onnx_import import import_bytes, import_model
from golden.progressive import progressive_graphs
from golden.random_models import random_images, random_model
from golden.weight_prefix import weight_planes
from host.cli import cli
from hw.config import preset
from sim.cycles.model import run_program
from tests.compiler.prefix_models import LIMITS

SEED = 4
OPTIONS = ("--preset", "tiny", "--images", "test.npz", "--calibration-images", "train.npz")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = random_model(SEED, LIMITS)
    (tmp_path / "net.onnx").write_bytes(model_bytes(model))
    pixels = random_images(model, 12, SEED)
    labels = classify(lower(import_model("net.onnx")), pixels[:8])
    np.savez("test.npz", images=pixels[:8], labels=labels)
    np.savez("train.npz", images=pixels[8:])
    np.savez("unlabelled.npz", images=pixels[:8])
    return tmp_path


def run(*arguments):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(cli, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_table_program_and_models_are_those_of_the_prefixes(folder):
    result = run(
        "progressive", "net.onnx", *OPTIONS, "-o", "net.lqp", "--models", "shorter", "--json"
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    graph = import_model("net.onnx")
    with np.load("train.npz") as file:
        graphs = progressive_graphs(graph, file["images"])
    networks = [lower(prefix) for prefix in graphs]
    assert len(networks) == weight_planes(graph) == 4
    config, program = preset("tiny"), load_program(folder / "net.lqp")
    assert program_bytes(program) == program_bytes(compile_prefixes(networks, config))
    with np.load("test.npz") as file:
        pixels, labels = file["images"], file["labels"]
    for planes, (network, prefix) in enumerate(zip(networks, report["prefixes"], strict=True), 1):
        assert prefix["planes"] == planes
        assert prefix["cycles"] == run_program(program.with_planes(planes), config).cycles
        assert prefix["accuracy"] == (classify(network, pixels) == labels).mean()
    assert report["prefixes"][-1]["accuracy"] == report["prefixes"][-1]["agreement"] == 1
    assert report["words"] == program.load_words
    assert report["words"] < sum(prefix["words_alone"] for prefix in report["prefixes"])
    files = sorted(path.name for path in (folder / "shorter").iterdir())
    assert files == ["net-1.onnx", "net-2.onnx", "net-3.onnx"]
    for planes, name in enumerate(files, 1):
        stored = import_bytes((folder / "shorter" / name).read_bytes())
        assert weight_planes(stored) == planes
        written, measured = lower(stored), networks[planes - 1]
        np.testing.assert_array_equal(classify(written, pixels), classify(measured, pixels))


def test_table_names_the_planes(folder):
    result = run("progressive", "net.onnx", *OPTIONS, "--limit", "2")
    assert result.exit_code == 0
    assert "net on tiny, 2 images" in result.stdout
    assert "all prefixes together" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.onnx", *OPTIONS), "missing.onnx"),
        (("net.onnx", *OPTIONS, "--images", "unlabelled.npz"), "must have labels"),
        (("net.onnx", *OPTIONS, "--preset", "huge"), "preset must be one of"),
        (("net.onnx", "--preset", "tiny"), ""),
    ],
)
def test_errors_leave_nothing_behind(folder, monkeypatch, arguments, message):
    monkeypatch.setenv("LQFPGA_DATA", str(folder / "nothing"))
    result = run("progressive", *arguments, "-o", "net.lqp", "--models", "shorter")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert not (folder / "net.lqp").exists()
    assert not (folder / "shorter").exists()


def test_run_refuses_planes_that_a_program_has_not(folder):
    run("progressive", "net.onnx", *OPTIONS, "-o", "net.lqp")
    result = run("run", "--port", "nowhere", "--planes", "5", "net.lqp", "a.png")
    assert result.exit_code == 1
    assert "weight planes of the program must be 1, 2, 3, 4, not 5" in result.stderr
