"""Compiled quantizers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from golden.data import Cifar10
from golden.level_assignment import compare_and_sum
from tests.golden.training_runs import tiny_config, tiny_data, trainer_of


@pytest.fixture(scope="module")
def tiny() -> Cifar10:
    return tiny_data()


def test_without_a_compiler_training_goes_on(
    tmp_path: Path, tiny: Cifar10, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Tensor) -> None:
        raise RuntimeError("no C++ compiler found\nlong explanation")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: broken)
    lines: list[str] = []
    config = replace(tiny_config(tmp_path / "n.pt"), compile=True)
    trainer = trainer_of(config, tiny, lines)
    assert lines == ["training without a compiler, which is slower: no C++ compiler found"]
    assert trainer.network.blocks()[0].quant1.statistics is compare_and_sum


@pytest.mark.slow
def test_compiled_training_equals_the_uncompiled(tmp_path: Path, tiny: Cifar10) -> None:
    # Counts are exact, sums differ by rounding: a step in float32 stays close.
    losses = []
    for compiled in (False, True):
        config = replace(tiny_config(tmp_path / "n.pt"), compile=compiled, bfloat16=False)
        lines: list[str] = []
        trainer = trainer_of(config, tiny, lines)
        pixels, labels = next(iter(trainer.source.train_batches(0, trainer.ranks)))
        losses.append([trainer.step(i, pixels, labels)[0].item() for i in range(3)])
        assert lines == []
        quantizer = trainer.network.blocks()[0].quant1
        assert (quantizer.statistics is compare_and_sum) is not compiled
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
