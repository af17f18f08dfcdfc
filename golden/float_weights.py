"""Float weights as bit planes: uniform quantisation to odd multiples of a step."""

from __future__ import annotations

import numpy as np

__all__ = ["float_weight_planes", "round_float_weights"]


def float_weight_planes(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Float weights as planes: odd multiples of one step per channel.

    Per output channel ``w ~ step * q`` with q odd in -(2^bits - 1)..2^bits - 1 and the largest
    |w| on the largest q. Then ``q = sum_i 2^i * b_i`` with b_i in {-1,+1}.

    Args:
        values: float64 [Cout, ...].
        bits: Number of planes.

    Returns:
        Planes (bool [bits, Cout, ...], True is +1) and basis (float64 [bits, Cout]).
    """
    largest = 2**bits - 1
    step = np.abs(values).reshape(len(values), -1).max(axis=1) / largest
    divisor = np.where(step > 0, step, 1.0).reshape(-1, *(1,) * (values.ndim - 1))
    odd = 2 * np.floor(values / (2 * divisor)) + 1
    numbers = (np.clip(odd, -largest, largest).astype(np.int64) + largest) // 2
    shifts = np.arange(bits).reshape(-1, *(1,) * values.ndim)
    planes = ((numbers >> shifts) & 1).astype(bool)
    return planes, np.ldexp(step, np.arange(bits)[:, None])


def round_float_weights(values: np.ndarray, bits: int) -> np.ndarray:
    """The weights that :func:`float_weight_planes` stands for; float64, same shape."""
    planes, basis = float_weight_planes(values, bits)
    signs = 2.0 * planes - 1.0
    return (signs * basis.reshape(basis.shape + (1,) * (values.ndim - 1))).sum(axis=0)
