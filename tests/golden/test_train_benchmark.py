"""Benchmark of a training step."""

from dataclasses import replace
from pathlib import Path

import pytest

from golden.train_benchmark import StepTimes, measure
from tests.golden.training_runs import tiny_config


def test_medians_of_both_networks_are_compared() -> None:
    times = StepTimes((3.0, 9.0, 2.0), (2.0, 1.0, 7.0))
    assert times.ratio == 1.5
    assert str(times).splitlines() == [
        "quantized  median   3000.0 ms   fastest   2000.0 ms",
        "float      median   2000.0 ms   fastest   1000.0 ms",
        "ratio      1.50",
    ]


def test_steps_of_both_networks_are_timed_and_nothing_is_written(tmp_path: Path) -> None:
    done: list[int] = []
    times = measure(tiny_config(tmp_path / "n.pt"), steps=2, progress=done.append)
    assert len(times.quantized) == len(times.full_precision) == 2
    assert min(*times.quantized, *times.full_precision) > 0
    assert done == [1, 2, 3, 4, 5]
    assert list(tmp_path.iterdir()) == []


def test_float_networks_have_nothing_to_compare(tmp_path: Path) -> None:
    config = replace(tiny_config(tmp_path / "n.pt"), weight_bits=None, activation_bits=None)
    with pytest.raises(ValueError, match=r"^benchmark must be of a quantized network, not of "):
        measure(config)
