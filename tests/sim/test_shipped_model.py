"""The main job: the shipped model on the RTL of its preset, values and cycles."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sim.cosimulation import simulate

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all models: the RTL is compiled once."""
    return tmp_path_factory.mktemp("shipped")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_values_and_cycles_of_a_real_image_equal_the_predictions(folder: Path, model: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, width=120)
    images = MODELS / "cifar10-test-8.npz"
    report = simulate(model, images, limit=1, out=folder, waves=False, console=console)
    assert report.passed, text.getvalue()
    assert report.cycle_difference is None
    assert report.values_compared > 400_000
    assert report.predictions_rtl == report.predictions_golden
