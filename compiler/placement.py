"""Placement of tensors in the activation memory and the stream memory."""

from __future__ import annotations

from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, IntegerNetwork, RawOutput
from hw.config import AcceleratorConfig

from .layout import RegionAllocator
from .orders import places_inside
from .units import LayerPlan, Plan

__all__ = ["Addresses", "allocate", "item_words"]


@dataclass(frozen=True)
class Addresses:
    """Bases of a network's tensors: activation granules and stream vectors."""

    planes: dict[str, int]
    streams: dict[str, int]
    image: int
    """Activation word of the raw image."""
    raw: int
    """Activation granule of the raw output."""
    activation_words: int
    """Words of the activation memory that are used, from word 0 on."""
    stream_vectors: int
    """Vectors of the stream memory that are used, from vector 0 on."""


def item_words(config: AcceleratorConfig) -> int:
    """Activation words of a 32-bit item (a pixel, a logit)."""
    return max(1, 32 // config.array.word_width)


def allocate(network: IntegerNetwork, plans: Plan, config: AcceleratorConfig) -> Addresses:
    """Bases of all tensors; raises :class:`ProgramError` with the numbers if a memory is full."""
    memory, rows = config.memory, config.array.rows
    activation = RegionAllocator("activation memory", memory.activation_words)
    stream = RegionAllocator("stream memory", memory.stream_vectors)
    whole_of = {name: whole.tensor for name, (whole, _) in places_inside(network).items()}
    last = _last_uses(plans, whole_of)
    shape = network.image
    words = shape.height * shape.width * item_words(config)
    base = activation.allocate("image", words, 0, last.get(shape.name, 0))
    planes: dict[str, int] = {}
    streams: dict[str, int] = {}
    raw = 0
    for index, plan in enumerate(plans.layers):
        layer = plan.layer
        if plan.plane_output is not None and layer.outputs is not None:
            name = layer.outputs.tensor
            whole = whole_of.get(name, name)
            if whole not in planes:
                words, end = plan.plane_output.words, last.get(whole, index)
                planes[whole] = 2 * activation.allocate(f"tensor {whole}", words, index, end)
        elif isinstance(layer.outputs, RawOutput):
            words = plan.channel_tiles * rows * item_words(config)
            end = len(plans.layers)
            raw = 2 * activation.allocate(f"tensor {layer.outputs.tensor}", words, index, end)
        if plan.stream_output is not None and isinstance(layer, ConvolutionLayer):
            streams[layer.stream.tensor] = _allocate_stream(stream, plan, index, last, streams)
    planes.update({name: planes[whole] for name, whole in whole_of.items()})
    return Addresses(planes, streams, base, raw, activation.peak, stream.peak)


def _last_uses(plans: Plan, whole_of: dict[str, str]) -> dict[str, int]:
    """Last layer that touches a tensor; parts of a concatenation count as the whole."""
    last: dict[str, int] = {}
    for index, plan in enumerate(plans.layers):
        layer = plan.layer
        touched = [layer.source]
        if isinstance(layer, ConvolutionLayer) and layer.residual is not None:
            touched.append(layer.residual.tensor)
        if layer.outputs is not None and layer.outputs.tensor in whole_of:
            touched.append(layer.outputs.tensor)
        for name in touched:
            last[whole_of.get(name, name)] = index
    return last


def _allocate_stream(
    allocator: RegionAllocator,
    plan: LayerPlan,
    index: int,
    last: dict[str, int],
    streams: dict[str, int],
) -> int:
    """A residual that ends here is overwritten in place: each vector is read before."""
    layer, output = plan.layer, plan.stream_output
    assert isinstance(layer, ConvolutionLayer)
    assert layer.stream is not None
    assert output is not None
    residual = layer.residual
    end = last.get(layer.stream.tensor, index)
    if (
        residual is not None
        and residual.window == 1
        and last[residual.tensor] == index
        and plan.residual_source == output
    ):
        base = streams[residual.tensor]
        allocator.place(base, output.vectors, index, end)
        return base
    return allocator.allocate(f"tensor {layer.stream.tensor}", output.vectors, index, end)
