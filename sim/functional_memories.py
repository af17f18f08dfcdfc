"""What the engines of the functional simulator share: the memories of one accelerator."""

from __future__ import annotations

import numpy as np

from hw.config import AcceleratorConfig

__all__ = ["Fields", "FunctionalError", "Memories", "signed"]

Fields = dict[str, int]
"""The fields of an instruction."""


class FunctionalError(RuntimeError):
    """The program does something that no program may do."""


def signed(words: np.ndarray, bits: int) -> np.ndarray:
    """The lowest ``bits`` of each word as a two's complement number: int64."""
    values = words.astype(np.int64) & ((1 << bits) - 1)
    return values - ((values >> (bits - 1)) << bits)


class Memories:
    """External and on-chip memories, all zero at first; a granule is ``rows`` bits.

    Args:
        config: Sizes.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        rows, lanes, memory = config.array.rows, config.array.lanes, config.memory
        self.config = config
        self.rows, self.lanes, self.word_width = rows, lanes, config.array.word_width
        self.external = np.zeros(memory.external_words, np.uint32)
        self.activation = np.zeros((memory.activation_words * 2, rows), bool)
        """Two granules a word."""
        self.columns = np.zeros((2, memory.column_granules, rows), bool)
        """The two halves of the column buffer."""
        self.weights = np.zeros((memory.weight_words, rows, lanes), bool)
        self.coefficients = np.zeros((memory.coefficient_words, rows), np.int64)
        self.parameters = np.zeros(memory.parameter_words, np.uint32)
        self.windows = np.zeros((memory.window_entries, config.array.granules), np.int64)
        self.masks = np.zeros((memory.window_entries, lanes), bool)
        self.passes = np.zeros((memory.pass_entries, 4), np.int64)
        """First window, length, plane and first weight word of each pass."""
        self.thresholds = np.zeros((memory.threshold_groups, config.datapath.comparators, 2), int)
        """Threshold and change of the code of each comparator."""
        self.stream = np.zeros((memory.stream_places, rows), np.int64)
        """Behind the vectors of the stream memory lie those that are spilled."""
