"""DMA instructions at both ends of an inference: the image comes, the result goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from golden.integer_network import IntegerNetwork
from hw import isa
from hw.config import AcceleratorConfig

from .placement import Addresses, item_words
from .units import LayerPlan

__all__ = ["image_loads", "logits_words", "result_store"]

IMAGE_PARTS = 4
"""Most loads of an image."""
MOST_PARTS = 32
"""Most loads of a batch: their ARRIVED tokens must fit a semaphore."""
IMAGE_PART_ROWS = 8
"""Fewest rows of one."""


def image_loads(
    network: IntegerNetwork,
    external: int,
    addresses: Addresses,
    config: AcceleratorConfig,
    needed: Sequence[int] = (),
) -> Iterator[tuple[int, dict[str, int]]]:
    """Rows that are there after each load of the input from word ``external`` on, and its fields.

    In parts, so that the first layer begins with the first rows. Where the rows that are ``needed``
    (ascending) are known, parts end with them: windows reach beyond equal parts by a row or two,
    and the first tile is to wait for no more than its own.
    """
    shape = network.image
    row_words = shape.width * item_words(config)
    height = shape.height // network.images
    parts = network.images * max(1, min(IMAGE_PARTS, height // IMAGE_PART_ROWS))
    parts = min(parts, MOST_PARTS)
    edges = [shape.height * part // parts for part in range(parts + 1)]
    if needed and parts < MOST_PARTS:
        ends = (next((rows for rows in needed if rows >= edge), edge) for edge in edges[1:-1])
        edges = sorted({0, needed[0], *ends, shape.height})
    for first, end in pairwise(edges):
        yield (
            end,
            {
                "store": 0,
                "target": isa.DmaTarget.ACTIVATIONS.value,
                "address": addresses.image + first * row_words,
                "external": external + first * shape.width,
                "count": (end - first) * row_words,
            },
        )


def logits_words(final: LayerPlan, config: AcceleratorConfig) -> int:
    """External words from the first logit of an image to that of the next one."""
    return final.channel_tiles * config.array.rows


def result_store(
    final: LayerPlan, external: int, addresses: Addresses, config: AcceleratorConfig
) -> dict[str, int]:
    """Fields of the store of the last layer's result to word ``external``."""
    return {
        "store": 1,
        "target": isa.DmaTarget.ACTIVATIONS.value,
        "address": addresses.raw // 2,
        "external": external,
        "count": final.layer.output_shape[0] * logits_words(final, config) * item_words(config),
    }
