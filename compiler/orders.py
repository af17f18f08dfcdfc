"""Channel orders and plane layouts of a whole network: what depends on several layers at once."""

from __future__ import annotations

from dataclasses import replace

from golden.integer_network import (
    CodeOutput,
    Concatenation,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
)

from .layout import NO_CHANNEL, PlaneLayout, output_order
from .program import ProgramError

__all__ = ["Place", "channel_orders", "places_inside", "plane_layouts"]

Place = tuple[Concatenation, int]
"""The concatenation inside whose pixels a tensor lies, and the number of its first source there."""


def channel_orders(network: IntegerNetwork, rows: int) -> list[tuple[int, ...]]:
    """Order of the output channels of each layer; residuals decide (see ``output_order``)."""
    streams: dict[str, tuple[int, ...]] = {}
    orders = []
    for layer in network.layers:
        if isinstance(layer, ConvolutionLayer):
            residual = layer.residual
            source = streams[residual.tensor] if residual is not None else None
            order = output_order(layer, residual, source, rows)
            if layer.stream is not None:
                streams[layer.stream.tensor] = order
        else:
            order = streams[layer.source]
        orders.append(order)
    return orders


def plane_layouts(
    network: IntegerNetwork, orders: list[tuple[int, ...]], rows: int, unit: int = 2
) -> dict[str, PlaneLayout | None]:
    """Layout of every plane tensor, pixels of a multiple of ``unit`` granules; None for the image.

    A concatenation is laid out as one tensor whose pixels hold the blocks of its sources, which
    therefore need no copying. One whose sources follow one another in a larger concatenation, as
    in a DenseNet, is a part of that one.
    """
    layouts: dict[str, PlaneLayout | None] = {network.image.name: None}
    for layer, order in zip(network.layers, orders, strict=True):
        output = layer.outputs
        if isinstance(output, CodeOutput | FixedPointOutput):
            planes = output.planes if isinstance(output, CodeOutput) else output.bits
            most = network.arithmetic.planes_maximum
            if planes > most:
                raise ProgramError(
                    f"tensor {output.tensor} must have at most {most} planes, not {planes}"
                )
            height, width, _ = layer.output_shape
            layouts[output.tensor] = PlaneLayout(
                height=height, width=width, order=order, planes=planes, rows=rows, unit=unit
            )
    places = places_inside(network)
    sources = {
        concatenation.tensor: concatenation.sources for concatenation in network.concatenations
    }
    parts = {name: _parts(name, sources.get(name, (name,)), layouts) for name in places}
    for name, (whole, first) in places.items():
        blocks = [layout.blocks for layout in _parts(whole.tensor, whole.sources, layouts)]
        last = first + len(parts[name])
        layouts[name] = replace(
            _whole(parts[name]), before=sum(blocks[:first]), after=sum(blocks[last:])
        )
    return layouts


def places_inside(network: IntegerNetwork) -> dict[str, Place]:
    """Where concatenations and their sources lie; tensors of their own are not in it.

    Raises:
        ProgramError: A tensor is part of two concatenations neither of which holds the other.
    """
    places: dict[str, Place] = {}
    for concatenation in sorted(network.concatenations, key=lambda c: -len(c.sources)):
        sources = concatenation.sources
        whole, first = places.get(sources[0], (concatenation, 0))
        if whole.sources[first : first + len(sources)] != sources:
            whole, first = concatenation, 0
        places[concatenation.tensor] = whole, first
        for index, name in enumerate(sources, first):
            if places.setdefault(name, (whole, index)) != (whole, index):
                raise ProgramError(
                    f"tensor {name} must be part of one concatenation, or of several of which one "
                    f"holds the others side by side, to be part of {concatenation.tensor}"
                )
    return places


def _parts(
    tensor: str, sources: tuple[str, ...], layouts: dict[str, PlaneLayout | None]
) -> list[PlaneLayout]:
    """Layouts of the sources of a concatenation."""
    parts = []
    for name in sources:
        part = layouts.get(name)
        if part is None:
            raise ProgramError(
                f"tensor {name} must be the output of a layer to be part of {tensor}"
            )
        parts.append(part)
    return parts


def _whole(parts: list[PlaneLayout]) -> PlaneLayout:
    """Layout of a concatenation: channels of later sources count on from those before."""
    order: list[int] = []
    channels = 0
    for part in parts:
        order += [c if c == NO_CHANNEL else c + channels for c in part.order]
        channels += sum(c != NO_CHANNEL for c in part.order)
    first = parts[0]
    return PlaneLayout(
        height=first.height,
        width=first.width,
        order=tuple(order),
        planes=first.planes,
        rows=first.rows,
        unit=first.unit,
    )
