"""Expected arrays for the test bench: the integer reference, run by run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.integer_network import IntegerNetwork
from golden.integer_reference import IntegerReference

__all__ = ["expected_arrays"]

BATCH = 8
"""Images that the reference computes at once: bounds its memory."""


def expected_arrays(
    network: IntegerNetwork, images: NDArray[np.uint8]
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each run (an image, or a batch one below the other) all tensors by name, and the
    accumulators of each convolution."""
    reference = IntegerReference(network)
    step = max(1, BATCH // network.images)
    for first in range(0, len(images), step):
        batch = images[first : first + step]
        tensors = reference.run(batch, accumulators=True)
        for index in range(len(batch)):
            yield {name: array[index] for name, array in tensors.items()}
