"""Compiled quantizers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from golden.data import Cifar10
from golden.level_assignment import compare_and_sum
from golden.quantizer_compilation import compile_quantizers
from golden.quantizers import ActivationQuantizer
from tests.golden.training_runs import CPU, tiny_config, tiny_data, trainer_of


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
# Of torch's own compiler, when it is first loaded.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_compiled_passes_equal_the_others() -> None:
    quantizers = nn.ModuleList([ActivationQuantizer(2), ActivationQuantizer(2)])
    lines: list[str] = []
    compile_quantizers(quantizers[0], CPU, lines.append)
    assert lines == []
    torch.manual_seed(0)
    for shape in [(3, 8, 4, 4), (2, 5, 7, 3), (40, 10)]:
        # Quarters add up exactly in any order.
        x = torch.randint(-8, 8, shape) / 4
        found = []
        for quantizer in quantizers:
            own = x.clone().requires_grad_()
            y = quantizer(own)
            y.backward(torch.ones_like(y))
            found.append((y, own.grad, quantizer.basis.clone()))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
