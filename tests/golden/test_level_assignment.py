"""Levels of weights by row, and compiled passes over tensors in any order of memory."""

import pytest
import torch
from torch import Tensor

from golden.level_assignment import (
    assign_levels,
    assign_row_levels,
    compare_and_sum,
    gate_gradient,
    round_to_levels,
)
from golden.quantizer_compilation import flat_gate, flat_statistics


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_rows_get_their_own_levels_counts_and_sums(bits: int) -> None:
    torch.manual_seed(bits)
    rows = torch.randn(5, 200)
    levels = torch.randn(5, 2**bits).sort(1).values
    thresholds = (levels[:, 1:] + levels[:, :-1]) / 2
    rows[:, 0] = thresholds[:, 0]
    quantized, counts, sums = assign_row_levels(rows, thresholds, levels)
    index = torch.searchsorted(thresholds, rows)
    assert torch.equal(quantized, levels.gather(1, index))
    for row in range(5):
        for level in range(2**bits):
            chosen = rows[row][index[row] == level].double()
            assert counts[row, level].item() == len(chosen)
            assert sums[row, level].item() == pytest.approx(chosen.sum().item(), abs=1e-9)


def layouts() -> list[Tensor]:
    x = torch.randint(-8, 8, (2, 3, 4, 6)) / 4
    return [x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3), x[:, :, ::2]]


@pytest.mark.parametrize("x", layouts(), ids=["contiguous", "channels last", "turned", "strided"])
def test_passes_in_memory_order_give_the_same_in_place(x: Tensor) -> None:
    levels = torch.tensor([0.0, 0.5, 1.0, 1.5])
    thresholds = (levels[1:] + levels[:-1]) / 2
    quantized, counts, sums = assign_levels(x, thresholds, levels, flat_statistics(compare_and_sum))
    expected = assign_levels(x, thresholds, levels, compare_and_sum)
    assert torch.equal(quantized, round_to_levels(x, thresholds, levels))
    # Quarters add up exactly in any order.
    assert torch.equal(counts, expected[1])
    assert torch.equal(sums, expected[2])
    for gradient in (x + 1, (x + 1).contiguous()):
        gated = flat_gate(gate_gradient)(gradient, x, levels[2])
        assert torch.equal(gated, torch.where(x <= 1, gradient, 0))
