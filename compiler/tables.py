"""Tables of the post engine for one layer: parameters and thresholds."""

from __future__ import annotations

import numpy as np

from golden.integer_network import CodeOutput, ConvolutionLayer, Layer
from hw.config import AcceleratorConfig

from .layout import NO_CHANNEL
from .program import ProgramError

__all__ = ["parameter_words", "threshold_words"]

LARGEST_THRESHOLD = (1 << 31) - 1


def parameter_words(layer: Layer, order: tuple[int, ...], rows: int) -> np.ndarray:
    """uint32 [tiles, rows * 3]: bias, offset, gain (bit 31: minimum in maximum pooling)."""
    count = len(order)
    held = np.array(order)
    real = held != NO_CHANNEL
    words = np.zeros((count, 3), np.int64)
    if isinstance(layer, ConvolutionLayer):
        words[real, 0] = layer.bias[held[real]]
    if layer.affine is not None:
        words[real, 1] = layer.affine.offset[held[real]]
        words[real, 2] = layer.affine.gain[held[real]] & 0x3FFFF
    if layer.pool is not None:
        words[real, 2] |= layer.pool.minimum[held[real]].astype(np.int64) << 31
    return (words & 0xFFFFFFFF).astype(np.uint32).reshape(count // rows, rows * 3)


def threshold_words(output: CodeOutput, config: AcceleratorConfig) -> np.ndarray:
    """uint32 [groups, comparators * 2]: thresholds and code deltas."""
    comparators = config.datapath.comparators
    count = len(output.thresholds)
    if len(output.codes) != count + 1:
        raise ProgramError(
            f"tensor {output.tensor} must have one code more than thresholds, "
            f"not {len(output.codes)} and {count}"
        )
    groups = max(1, -(-count // comparators))
    words = np.zeros((groups * comparators, 2), np.int64)
    words[:, 0] = LARGEST_THRESHOLD
    words[:count, 0] = output.thresholds
    words[:count, 1] = output.codes[1:] ^ output.codes[:-1]
    return (words & 0xFFFFFFFF).astype(np.uint32).reshape(groups, comparators * 2)
