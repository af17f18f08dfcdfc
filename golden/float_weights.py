"""Float weights as bit planes: uniform quantisation to odd multiples of a step."""

from __future__ import annotations

import numpy as np

__all__ = [
    "CLIPPING",
    "fewest_planes",
    "fit_float_weights",
    "float_weight_planes",
    "round_float_weights",
    "rounded_weights",
]

MANY_PLANES = 8
"""So many that nothing is gained from clipping."""

CLIPPING = np.linspace(0.5, 1.0, 51)
"""Shares of a channel's largest |w| that are tried as the largest that planes stand for."""

COMMON_BITS = 24
"""Bits of the largest weight of a channel within which all weights must be multiples of a step."""

FLOAT32_ROUNDING = 2.0**-22
"""Relative error of a step and of a multiple of it, both stored as float32, and some room."""


def float_weight_planes(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Float weights as planes: odd multiples of one step per channel.

    Per output channel ``w ~ step * q`` with q odd in -(2^bits - 1)..2^bits - 1 and the largest
    |w| on the largest q. Then ``q = sum_i 2^i * b_i`` with b_i in {-1,+1}.

    Where that is not what a channel holds, but its weights are odd multiples of another step,
    exactly and not too large, it has that step.

    Args:
        values: float64 [Cout, ...].
        bits: Number of planes.

    Returns:
        Planes (bool [bits, Cout, ...], True is +1) and basis (float64 [bits, Cout]).
    """
    largest = 2**bits - 1
    flat = values.reshape(len(values), -1)
    step = np.abs(flat).max(axis=1) / largest
    for channel in np.flatnonzero(~_are_odd(flat, step)):
        common = common_step(flat[channel])
        if common is not None and np.abs(flat[channel]).max() <= largest * common:
            step[channel] = common
    divisor = np.where(step > 0, step, 1.0).reshape(-1, *(1,) * (values.ndim - 1))
    odd = 2 * np.floor(values / (2 * divisor)) + 1
    numbers = (np.clip(odd, -largest, largest).astype(np.int64) + largest) // 2
    shifts = np.arange(bits).reshape(-1, *(1,) * values.ndim)
    planes = ((numbers >> shifts) & 1).astype(bool)
    return planes, np.ldexp(step, np.arange(bits)[:, None])


def _are_odd(values: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Channels (bool [Cout]) that are odd multiples of their step, but for rounding to float32."""
    divisor = np.where(step > 0, step, 1.0)[:, None]
    odd = 2 * np.floor(values / (2 * divisor)) + 1
    errors = np.abs(odd * divisor - values).max(axis=1)
    return errors <= FLOAT32_ROUNDING * np.abs(values).max(axis=1)


def common_step(weights: np.ndarray) -> float | None:
    """The largest number of which all ``weights`` are odd multiples, exactly; None if there is
    none, or only one so small that they have more bits than planes could hold.
    """
    largest = np.abs(weights).max(initial=0.0)
    if largest == 0 or not np.isfinite(largest):
        return None
    scaled = np.ldexp(weights, COMMON_BITS - int(np.frexp(largest)[1]))
    integers = np.rint(scaled).astype(np.int64)
    if not np.array_equal(scaled, integers):
        return None
    common = int(np.gcd.reduce(integers))
    if not (integers // common % 2).all():
        return None
    return float(np.ldexp(common, int(np.frexp(largest)[1]) - COMMON_BITS))


def round_float_weights(values: np.ndarray, bits: int) -> np.ndarray:
    """The weights that :func:`float_weight_planes` stands for; float64, same shape."""
    planes, basis = float_weight_planes(values, bits)
    signs = 2.0 * planes - 1.0
    return (signs * basis.reshape(basis.shape + (1,) * (values.ndim - 1))).sum(axis=0)


def fit_float_weights(values: np.ndarray, bits: int) -> np.ndarray:
    """Weights of ``bits`` planes with the least squared error per channel; float64, same shape.

    The largest |w| of a channel may be clipped for it (:data:`CLIPPING`), which few planes gain
    from. :func:`float_weight_planes` finds the same planes in the result.
    """
    flat = values.reshape(len(values), -1)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    fitted, least = np.zeros_like(flat), np.full(len(flat), np.inf)
    for share in CLIPPING:
        rounded = round_float_weights(np.clip(flat, -share * largest, share * largest), bits)
        errors = ((rounded - flat) ** 2).sum(axis=1)
        better = errors < least
        fitted[better], least[better] = rounded[better], errors[better]
    return fitted.reshape(values.shape)


def rounded_weights(values: np.ndarray, bits: int) -> np.ndarray:
    """The weights that an exported file has: rounded, fitted if they have few planes, or as they
    are if ``bits`` planes hold them already.

    Raises:
        ValueError: A weight is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("weights must be finite to be rounded, not NaN or inf")
    if fewest_planes(values, bits + 1) <= bits:
        return values
    rounding = round_float_weights if bits >= MANY_PLANES else fit_float_weights
    return rounding(values, bits)


def fewest_planes(values: np.ndarray, most: int) -> int:
    """The fewest planes, below ``most``, that hold the weights but for what float32 rounds; else
    ``most``.

    Args:
        values: float64 [Cout, ...].
        most: Number of planes that weights are rounded to otherwise.
    """

    def hold(part: np.ndarray, bits: int) -> bool:
        errors = np.abs(round_float_weights(part, bits) - part).reshape(len(part), -1)
        largest = np.abs(part).reshape(len(part), -1).max(axis=1, keepdims=True)
        return bool((errors <= FLOAT32_ROUNDING * largest).all())

    # Most weights are of no fewer planes, which one channel tells.
    return next(
        (bits for bits in range(1, most) if hold(values[:1], bits) and hold(values, bits)), most
    )
