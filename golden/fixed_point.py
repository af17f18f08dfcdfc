"""Rounding and saturation: the only definitions in the project.

Gateware tests, the integer reference, the compiler and the functional simulator import these
functions. They use only ``+``, ``>>``, comparison and ``clip``-like selection, so that they work
on Python integers, numpy integer arrays and torch integer tensors alike.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

__all__ = ["round_shift", "saturate", "signed_range"]

Integer = TypeVar("Integer", int, np.ndarray, Any)


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a ``bits``-wide two's complement number."""
    if bits < 1:
        raise ValueError(f"bits must be at least 1, not {bits}")
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def round_shift(value: Integer, shift: int) -> Integer:
    """``value / 2**shift`` rounded to the nearest integer, halves upward (toward +infinity)."""
    if shift < 0:
        raise ValueError(f"shift must not be negative, not {shift}")
    if shift == 0:
        return value
    return (value + (1 << (shift - 1))) >> shift


def saturate(value: Integer, bits: int) -> Integer:
    """``value`` limited to the range of a ``bits``-wide two's complement number."""
    low, high = signed_range(bits)
    if isinstance(value, int):
        return min(max(value, low), high)
    return value.clip(low, high)
