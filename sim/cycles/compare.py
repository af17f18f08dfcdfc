"""The cycle model against runs of the RTL: equal, or where they differ first."""

from __future__ import annotations

from collections.abc import Iterable

from hw.isa import Counter

from ..job import ImageResult
from .model import Run

__all__ = ["find_difference"]


def find_difference(run: Run, tags: list[int], results: Iterable[ImageResult]) -> str | None:
    """The first cycle count of an image that is not as predicted, as text.

    Args:
        run: The prediction.
        tags: Tags of the layers, in the order of the results' layers.
        results: Runs of the RTL on images.
    """
    layers = run.layer_cycles(tags)
    for result in results:
        # The entry after the layers is that of the logits, which take no cycles of their own.
        for layer, predicted in zip(result.layers, layers, strict=False):
            if layer["cycles"] != predicted:
                return (
                    f"image {result.image}: layer {layer['name']} took {layer['cycles']:,} cycles, "
                    f"not {predicted:,}"
                )
        for counter, count in zip(Counter, result.counters, strict=True):
            if count != run.counters[counter]:
                return (
                    f"image {result.image}: counter {counter.name} was {count:,}, "
                    f"not {run.counters[counter]:,}"
                )
        if result.cycles != run.cycles:
            return f"image {result.image} took {result.cycles:,} cycles, not {run.cycles:,}"
    return None
