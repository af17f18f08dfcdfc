"""Concatenations share the pixels of the largest that holds them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.orders import channel_orders, places_inside, plane_layouts
from compiler.program import ProgramError
from golden.integer_network import (
    CodeOutput,
    Concatenation,
    ConvolutionLayer,
    ImageInput,
    IntegerNetwork,
)

ROWS = 4


def layer(name: str, channels: int) -> ConvolutionLayer:
    """A layer that writes two planes of ``channels`` channels."""
    return ConvolutionLayer(
        name=name,
        source="image",
        input_shape=(2, 3, 1),
        convolution_shape=(2, 3, channels),
        output_shape=(2, 3, channels),
        weight_planes=np.zeros((1, channels, 1, 1, 1), dtype=bool),
        coefficients=np.ones((1, channels, 1, 8), dtype=np.int64),
        ranges=((0, 1),),
        bias=np.zeros(channels, np.int64),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        weight_label="W1",
        source_label="A8",
        fraction=0,
        outputs=CodeOutput(name, 2, np.arange(3), np.arange(4)),
    )


NETWORK = IntegerNetwork(
    name="test",
    image=ImageInput("image", 2, 3, 1),
    layers=(layer("a", 4), layer("b", 6), layer("c", 3), layer("d", 4)),
    concatenations=(
        Concatenation("ba", ("b", "a")),
        Concatenation("cba", ("c", "b", "a")),
        Concatenation("dcba", ("d", "c", "b", "a")),
    ),
)


def test_nested_concatenations_are_parts_of_the_largest() -> None:
    places = {
        name: (whole.tensor, first) for name, (whole, first) in places_inside(NETWORK).items()
    }
    assert places == {
        "d": ("dcba", 0),
        "dcba": ("dcba", 0),
        "c": ("dcba", 1),
        "cba": ("dcba", 1),
        "b": ("dcba", 2),
        "ba": ("dcba", 2),
        "a": ("dcba", 3),
    }


def test_layouts_of_nested_concatenations_lie_in_the_pixels_of_the_largest() -> None:
    layouts = plane_layouts(NETWORK, channel_orders(NETWORK, ROWS), ROWS)
    blocks = {}
    for name in ("a", "b", "c", "d", "ba", "cba", "dcba"):
        layout = layouts[name]
        assert layout is not None
        assert layout.pixel_stride == 5 * 2
        blocks[name] = (layout.before, layout.blocks, layout.after)
    assert blocks == {
        "d": (0, 1, 4),
        "c": (1, 1, 3),
        "b": (2, 2, 1),
        "a": (4, 1, 0),
        "ba": (2, 3, 0),
        "cba": (1, 4, 0),
        "dcba": (0, 5, 0),
    }
    cba = layouts["cba"]
    assert cba is not None
    # Channels count from the first source of the concatenation; c and b leave lanes empty.
    assert cba.order == (0, 1, 2, -1, 3, 4, 5, 6, 7, 8, -1, -1, 9, 10, 11, 12)


@pytest.mark.parametrize(
    "other",
    [("a", "b"), ("b", "d"), ("d", "b", "a")],
    ids=["another order", "neighbours elsewhere", "a gap"],
)
def test_concatenations_that_share_sources_otherwise_are_refused(other: tuple[str, ...]) -> None:
    network = replace(
        NETWORK, concatenations=(NETWORK.concatenations[2], Concatenation("x", other))
    )
    with pytest.raises(ProgramError, match=r"^tensor \w must be part of one concatenation, or of"):
        places_inside(network)


def test_parts_that_no_layer_writes_are_refused() -> None:
    network = replace(NETWORK, concatenations=(Concatenation("x", ("a", "image")),))
    with pytest.raises(ProgramError, match=r"^tensor image must be the output of a layer to be pa"):
        plane_layouts(network, channel_orders(network, ROWS), ROWS)
