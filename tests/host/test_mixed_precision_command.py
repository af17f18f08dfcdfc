"""The command ``lqfpga mixed-precision``, on a small network; and what a front is."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

import host.mixed_run
from compiler.compile import compile_model
from golden.example_model import example_images
from golden.integer_reference import classify
from golden.lowering import lower
from golden.onnx_import import import_model
from golden.post_training import PostTraining
from host.cli import cli
from host.labelled_images import LabelledImages
from host.mixed_precision import MixedSearch, PrecisionError, PrecisionPoint, front_of
from hw.config import preset
from sim.cycles.model import run_program
from tests.golden.small_networks import exported

PRESET = "ulx3s-85f"
OPTIONS = (
    *("--preset", PRESET, "--images", "test.npz", "--calibration-images", "train.npz"),
    *("--validation", "10", "--others", "6", "--weights", "1,2", "--activations", "1,2"),
    *("--output", "out"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(exported("vgg-small", 2, 2)[1])
    pixels = example_images((16, 16, 3), 24)
    labels = classify(lower(import_model("net.onnx")), pixels)
    np.savez("test.npz", images=pixels[:16], labels=labels[:16])
    np.savez("train.npz", images=pixels[16:])
    return tmp_path


def run(*arguments):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["mixed-precision", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def points():
    with open("out/points.csv") as file:
        return list(csv.DictReader(file))


def test_points_models_and_picture_tell_the_same_and_a_search_goes_on(folder):
    result = run("net.onnx", *OPTIONS, "--trials", "5")
    assert result.exit_code == 0
    assert "5 trials" in result.output
    first = points()
    assert [p["uniform"] for p in first if p["uniform"]]
    assert {p["uniform"] for p in first} >= {"W1A1", "W1A2", "W2A1", "W2A2"}
    front = [p for p in first if p["on_front"] == "1"]
    models = sorted((folder / "out" / "models").iterdir())
    assert len(models) == len(front)
    with np.load("test.npz") as file:
        pixels, labels = file["images"], file["labels"]
    config = preset(PRESET)
    for point, path in zip(front, models, strict=True):
        answers = classify(lower(import_model(path)), pixels)
        assert float(point["accuracy"]) == (answers[:10] == labels[:10]).mean()
        assert float(point["accuracy_other_images"]) == pytest.approx(
            (answers[10:] == labels[10:]).mean(), abs=1e-6
        )
        assert int(point["cycles"]) == run_program(compile_model(path, config), config).cycles
    assert (folder / "out" / "front.png").read_bytes().startswith(b"\x89PNG")
    again = run("net.onnx", *OPTIONS, "--trials", "7")
    assert "7 trials" in again.output
    kept = {tuple(p.values())[1:4] for p in first}
    assert kept <= {tuple(p.values())[1:4] for p in points()}


def test_the_model_itself_is_the_point_with_its_own_planes(folder):
    run("net.onnx", *OPTIONS, "--trials", "4")
    point = next(p for p in points() if p["uniform"] == "W2A2")
    assert float(point["accuracy"]) >= 0.9  # its own answers are the labels; ranges are new


def test_nothing_is_evaluated_again(folder, monkeypatch):
    run("net.onnx", *OPTIONS, "--trials", "4", "--others", "0")

    def fail(*arguments):
        raise AssertionError("trials must come from the journal")

    monkeypatch.setattr(MixedSearch, "evaluate", fail)
    result = run("net.onnx", *OPTIONS, "--trials", "4", "--others", "0")
    assert result.exit_code == 0
    assert "4 trials" in result.output


def test_the_path_goes_down_from_the_most_planes_one_site_at_a_time(folder):
    search = search_with(folder, (1, 2, 4), column_granules=1024)
    path = search._path()
    assert set(path[0].values()) == {1, 4}  # one plane of weights, four of activations
    for before, after in pairwise(path):
        lower = [site for site in before if after[site] < before[site]]
        assert len(lower) == 1
        assert sum(after.values()) < sum(before.values())
    cycles = [search.evaluate(planes, search._images).cycles for planes in (path[0], path[-1])]
    assert cycles[1] < cycles[0]


def search_with(folder, activations, column_granules=64):
    """A search on a configuration with other column buffers."""
    config = preset(PRESET)
    config = replace(config, memory=replace(config.memory, column_granules=column_granules))
    images = LabelledImages(example_images((16, 16, 3), 2), np.zeros(2, np.int64))
    return MixedSearch(
        PostTraining(import_model("net.onnx"), images.pixels),
        config,
        images,
        weights=(1,),
        activations=activations,
        journal=folder / "study.log",
    )


def test_planes_that_do_not_fit_in_a_layer_are_left_out_there(folder):
    search = search_with(folder, (1, 2, 6), column_granules=32)
    search.run(2, lambda point: None)
    assert len(search.points()) == search.done == 2
    assert all("must fit a column buffer" in text for text in search.problems())
    assert search.problems()
    most = search.points()[-1]
    assert set(most.planes.values()) == {1, 2}
    assert most.uniform == "W1A2"


def test_a_network_that_does_not_fit_in_the_fewest_planes_is_refused(folder):
    with pytest.raises(PrecisionError, match=r"the fewest planes must have a program on .*: layer"):
        search_with(folder, (8,))


def test_a_front_rises_with_the_cycles():
    def point(accuracy, cycles):
        return PrecisionPoint(planes={}, accuracy=accuracy, cycles=cycles)

    best = [point(0.5, 10), point(0.7, 20), point(0.9, 40)]
    worse = [point(0.4, 10), point(0.7, 30), point(0.6, 25), point(0.9, 50)]
    assert front_of([*worse, *best]) == best


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("missing.onnx", *OPTIONS), 1, "missing.onnx"),
        (("net.onnx", *OPTIONS, "--weights", "0,2"), 2, "planes must be numbers 1..8 with commas"),
    ],
)
def test_errors_are_one_line(folder, arguments, code, message):
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert not (folder / "out" / "points.csv").exists()


def test_a_journal_that_is_none_is_named(folder):
    (folder / "out").mkdir()
    (folder / "out" / host.mixed_run.JOURNAL).write_text("no journal\n")
    result = run("net.onnx", *OPTIONS)
    assert result.exit_code == 1
    assert "journal out/study.log must be one of Optuna" in result.stderr
