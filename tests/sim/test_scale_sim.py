"""Shapes for SCALE-Sim, and what is read back; the program itself runs in ``make bench``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import preset
from sim.peer_tools import PeerError
from sim.scale_sim import install, run, topology

MODEL = Path(__file__).parents[2] / "models" / "resnet20-cifar10-w2a2.onnx"
ARRAY = preset("ulx3s-85f").array
STAND_IN = """
import argparse, csv, pathlib
parser = argparse.ArgumentParser()
for letter in "ctlps":
    parser.add_argument("-" + letter)
options = parser.parse_args()
layers = list(csv.reader(open(options.t)))[1:]
assert len(list(csv.reader(open(options.l)))) == len(layers) + 1
text = open(options.c).read()
assert "ArrayHeight: 16" in text and "ArrayWidth: 8" in text, text
folder = pathlib.Path(options.p) / "run"
folder.mkdir(parents=True)
lines = ["LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles,"]
lines += [f"{index}, 7, {index + 100}, 0," for index in range(len(layers) - SKIPPED)]
(folder / "COMPUTE_REPORT.csv").write_text("\\n".join(lines) + "\\n")
"""


def install_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, skipped: int = 0) -> None:
    """A package ``scalesim`` that answers with 100, 101, ... cycles."""
    (folder / "scalesim").mkdir()
    (folder / "scalesim" / "__init__.py").touch()
    (folder / "scalesim" / "scale.py").write_text(f"SKIPPED = {skipped}\n{STAND_IN}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_shapes_are_those_of_the_padded_convolutions() -> None:
    rows = topology(lower(import_model(MODEL)))
    assert len(rows) == 20
    assert rows[0] == ("conv0", 34, 34, 3, 3, 3, 16, 1)
    assert rows[7] == ("stage1.block0.conv1", 33, 33, 3, 3, 16, 32, 2)
    assert rows[-1] == ("fc", 1, 1, 1, 1, 64, 10, 1)


def test_cycles_of_all_layers_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(tmp_path, monkeypatch)
    network = lower(import_model(MODEL))
    result = run(Path(sys.executable), network, ARRAY, tmp_path / "work")
    assert result.cycles == sum(range(100, 120))
    assert result.seconds > 0


def test_a_missing_layer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(tmp_path, monkeypatch, skipped=1)
    network = lower(import_model(MODEL))
    with pytest.raises(PeerError, match="must report 20 layers, not 19"):
        run(Path(sys.executable), network, ARRAY, tmp_path / "work")


def test_what_the_program_says_last_is_in_the_error(tmp_path: Path) -> None:
    network = lower(import_model(MODEL))
    with pytest.raises(PeerError, match="failed: .*No module named 'scalesim'"):
        run(Path(sys.executable), network, ARRAY, tmp_path / "work")


def test_it_is_installed_once_below_a_folder_that_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sim.scale_sim.REQUIREMENTS", ("pip",))
    python = install(Path("build/other"))
    assert python == tmp_path / "build" / "other" / "bin" / "python"
    assert python.exists()
    made = (tmp_path / "build" / "other" / "installed").stat().st_mtime_ns
    assert install(Path("build/other")) == python
    assert (tmp_path / "build" / "other" / "installed").stat().st_mtime_ns == made
