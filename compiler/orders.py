"""Channel orders and plane layouts of a whole network: what depends on several layers at once."""

from __future__ import annotations

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
)

from .layout import NO_CHANNEL, PlaneLayout, output_order
from .program import ProgramError

__all__ = ["channel_orders", "plane_layouts"]


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
    network: IntegerNetwork, orders: list[tuple[int, ...]], rows: int
) -> dict[str, PlaneLayout | None]:
    """Layout of every plane tensor; None for the image.

    A concatenation is laid out as one tensor whose pixels hold the blocks of its sources, which
    therefore need no copying. A source can be in one concatenation only.
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
                height=height, width=width, order=order, planes=planes, rows=rows
            )
    owned: set[str] = set()
    for concatenation in network.concatenations:
        parts = []
        for name in concatenation.sources:
            part = layouts.get(name)
            if part is None or name in owned or name in (c.tensor for c in network.concatenations):
                raise ProgramError(
                    f"tensor {name} must be the output of a layer and part of one concatenation "
                    f"only, to be part of {concatenation.tensor}"
                )
            owned.add(name)
            parts.append(part)
        layouts[concatenation.tensor] = _whole(parts)
        total, before = sum(part.blocks for part in parts), 0
        for name, part in zip(concatenation.sources, parts, strict=True):
            layouts[name] = PlaneLayout(
                height=part.height,
                width=part.width,
                order=part.order,
                planes=part.planes,
                rows=rows,
                before=before,
                after=total - before - part.blocks,
            )
            before += part.blocks
    return layouts


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
    )
