"""Rounding and saturation: one definition for integers, numpy arrays and torch tensors."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.fixed_point import round_shift, saturate, signed_range

values = st.integers(-(2**40), 2**40)


@pytest.mark.parametrize(("bits", "expected"), [(1, (-1, 0)), (8, (-128, 127)), (2, (-2, 1))])
def test_signed_range(bits: int, expected: tuple[int, int]) -> None:
    assert signed_range(bits) == expected


def test_signed_range_refuses_no_bits() -> None:
    with pytest.raises(ValueError, match=r"^bits must be at least 1, not 0$"):
        signed_range(0)


@pytest.mark.parametrize(
    ("value", "shift", "expected"),
    [(3, 1, 2), (-3, 1, -1), (1, 1, 1), (-1, 1, 0), (5, 2, 1), (6, 2, 2), (-6, 2, -1), (7, 0, 7)],
)
def test_halves_round_upward(value: int, shift: int, expected: int) -> None:
    assert round_shift(value, shift) == expected


@given(values, st.integers(0, 31))
def test_round_shift_is_the_nearest_integer(value: int, shift: int) -> None:
    assert round_shift(value, shift) == floor(Fraction(value, 2**shift) + Fraction(1, 2))


@given(st.lists(values, min_size=1, max_size=20), st.integers(0, 31), st.integers(1, 32))
def test_all_number_types_agree(numbers: list[int], shift: int, bits: int) -> None:
    expected = [saturate(round_shift(number, shift), bits) for number in numbers]
    array = saturate(round_shift(np.array(numbers), shift), bits)
    tensor = saturate(round_shift(torch.tensor(numbers), shift), bits)
    assert array.tolist() == expected
    assert tensor.tolist() == expected


def test_round_shift_refuses_a_left_shift() -> None:
    with pytest.raises(ValueError, match=r"^shift must not be negative, not -1$"):
        round_shift(1, -1)


@given(values, st.integers(1, 40))
def test_saturate_keeps_what_fits(value: int, bits: int) -> None:
    low, high = signed_range(bits)
    result = saturate(value, bits)
    assert low <= result <= high
    assert result == value or (result == low > value) or (result == high < value)
