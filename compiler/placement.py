"""Placement of tensors: activation memory, stream memory, external memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, IntegerNetwork, RawOutput
from hw.config import AcceleratorConfig
from hw.isa import DmaTarget
from hw.memory.packing import entry_formats

from .block_plan import BlockPlan, External, plan_blocks
from .blocks import Block
from .layout import MemoryFull, PlaneLayout, RegionAllocator, StreamLayout
from .orders import places_inside
from .program import ProgramError
from .units import LayerPlan, Plan

__all__ = ["Addresses", "allocate", "item_words"]


@dataclass(frozen=True)
class Addresses:
    """Bases of a network's tensors: activation granules and stream vectors."""

    planes: dict[str, int]
    streams: dict[str, int]
    image: int
    """Activation word of the raw image; external word if it stays outside."""
    raw: int
    """Activation granule of the raw output."""
    activation_words: int
    """Words of the activation memory that are used, from word 0 on."""
    stream_vectors: int
    """Vectors of the stream memory that are used, from vector 0 on."""
    external: dict[str, External]
    """Tensors that lie in the external memory; the others have a base on chip."""
    blocks: dict[int, BlockPlan]
    """Layers that read or write such tensors, by tag."""
    external_words: int
    """Words of the external memory that they take, at its end."""


def item_words(config: AcceleratorConfig) -> int:
    """Activation words of a 32-bit item (a pixel, a logit)."""
    return max(1, 32 // config.array.word_width)


def allocate(network: IntegerNetwork, plans: Plan, config: AcceleratorConfig) -> Addresses:
    """Bases of all tensors.

    All of them stay on chip if they fit. If not, and the external memory is large, the largest
    tensor that lives where the first one does not fit moves there, and so on. If that does not
    help, tensors are placed at both ends of the activation memory in turn, so that what is free
    lies together.

    Raises:
        ProgramError: With the numbers, if a memory is full.
    """
    choices: dict[int, list[tuple[Block, ...]]] = {}
    try:
        return _allocate(network, plans, config, choices, both_ends=False)
    except MemoryFull as full:
        try:
            return _allocate(network, plans, config, choices, both_ends=True)
        except ProgramError:
            raise full from None


def _allocate(
    network: IntegerNetwork,
    plans: Plan,
    config: AcceleratorConfig,
    choices: dict[int, list[tuple[Block, ...]]],
    *,
    both_ends: bool,
) -> Addresses:
    outside: set[str] = set()
    while True:
        placement = _Placement(network, plans, config, frozenset(outside), choices, both_ends)
        try:
            return placement.addresses()
        except MemoryFull as full:
            movable = [region for region in full.live if region.owner in placement.movable]
            if not config.spills or not movable:
                raise
            largest = max(movable, key=lambda region: region.size)
            outside.add(placement.movable[largest.owner])


class _Placement:
    """One try with a choice of the tensors that lie outside."""

    def __init__(
        self,
        network: IntegerNetwork,
        plans: Plan,
        config: AcceleratorConfig,
        outside: frozenset[str],
        choices: dict[int, list[tuple[Block, ...]]],
        both_ends: bool,
    ) -> None:
        self._choices = choices
        self._both_ends = both_ends
        self._network = network
        self._plans = plans
        self._config = config
        self._outside = outside
        memory = config.memory
        self._activation = RegionAllocator("activation memory", memory.activation_words)
        self._stream = RegionAllocator("stream memory", memory.stream_vectors)
        self._far = RegionAllocator("external memory", memory.external_words)
        inside = places_inside(network)
        self._whole_of = {name: whole.tensor for name, (whole, _) in inside.items()}
        self._last = _last_uses(plans, self._whole_of)
        self._fixed = {
            self._whole_of.get(plan.layer.source, plan.layer.source)
            for plan in plans.layers
            if plan.tables is not None and plan.tables.parts
        }
        """Tensors that must be on chip, as windows are filled from them part by part."""
        self._external: dict[str, External] = {}
        self.movable: dict[str, str] = {}
        """Owners of regions whose tensor may lie outside, and its name."""

    def addresses(self) -> Addresses:
        config, outside = self._config, self._outside
        shape = self._network.image
        image = 0
        if shape.name in outside:
            self._place_outside(shape.name, 1, shape.width, shape.height, 0)
        else:
            words = shape.height * shape.width * item_words(config)
            self.movable["image"] = shape.name
            image = self._activation.allocate("image", words, 0, self._last.get(shape.name, 0))
        planes: dict[str, int] = {}
        streams: dict[str, int] = {}
        blocks: dict[int, BlockPlan] = {}
        raw = 0
        for index, plan in enumerate(self._plans.layers):
            layer = plan.layer
            if plan.plane_output is not None and layer.outputs is not None:
                self._place_planes(layer.outputs.tensor, plan.plane_output, index, planes)
            elif isinstance(layer.outputs, RawOutput):
                logits = layer.output_shape[0] * plan.channel_tiles * config.array.rows
                words = logits * item_words(config)
                end = len(self._plans.layers)
                owner = f"tensor {layer.outputs.tensor}"
                base = self._activation.allocate(
                    owner, words, index, end, from_top=self._is_from_top(index)
                )
                raw = 2 * base
            if plan.stream_output is not None and isinstance(layer, ConvolutionLayer):
                self._place_stream(plan, plan.stream_output, index, streams)
            planned = plan_blocks(
                plan,
                index,
                self._touched(plan),
                self._choices,
                max(
                    (unit.count for unit in self._plans.units if unit.plan is plan),
                    default=plan.channel_tiles,
                ),
                config,
                (self._activation, self._stream),
            )
            if planned is not None:
                blocks[plan.tag] = planned
        base = config.memory.external_words - self._far.peak
        external = {name: place.moved(base) for name, place in self._external.items()}
        for part, whole in self._whole_of.items():
            if whole in external:
                external[part] = external[whole]
            else:
                planes[part] = planes[whole]
        if shape.name in external:
            image = external[shape.name].base
        return Addresses(
            planes=planes,
            streams=streams,
            image=image,
            raw=raw,
            activation_words=self._activation.peak,
            stream_vectors=self._stream.peak,
            external=external,
            blocks=blocks,
            external_words=self._far.peak,
        )

    def _touched(self, plan: LayerPlan) -> Mapping[str, bool]:
        """Which of the tensors of a layer lie outside, by the part that they play."""
        layer = plan.layer
        names = {"source": layer.source, "output": None, "residual": None, "stream": None}
        if plan.plane_output is not None and layer.outputs is not None:
            names["output"] = layer.outputs.tensor
        if isinstance(layer, ConvolutionLayer):
            if layer.residual is not None:
                names["residual"] = layer.residual.tensor
            if layer.stream is not None:
                names["stream"] = layer.stream.tensor
        return {
            part: name is not None and self._whole_of.get(name, name) in self._outside
            for part, name in names.items()
        }

    def _place_outside(self, name: str, pixel: int, width: int, height: int, index: int) -> None:
        """A tensor whose pixels take ``pixel`` words of the external memory."""
        row = pixel * width
        end = self._last.get(name, index)
        base = self._far.allocate(name, row * height, index, end)
        self._external[name] = External(base, pixel, row)

    def _place_planes(
        self, name: str, layout: PlaneLayout, index: int, planes: dict[str, int]
    ) -> None:
        whole = self._whole_of.get(name, name)
        if whole in self._external or whole in planes:
            return
        if whole in self._outside:
            form = entry_formats(self._config)[DmaTarget.ACTIVATIONS]
            pixel = form.words_of(layout.pixel_stride // 2)
            self._place_outside(whole, pixel, layout.width, layout.height, index)
            return
        end = self._last.get(whole, index)
        owner = f"tensor {whole}"
        if whole not in self._fixed:
            self.movable[owner] = whole
        base = self._activation.allocate(
            owner, layout.words, index, end, from_top=self._is_from_top(index)
        )
        planes[whole] = 2 * base

    def _is_from_top(self, index: int) -> bool:
        return self._both_ends and index % 2 == 1

    def _place_stream(
        self, plan: LayerPlan, output: StreamLayout, index: int, streams: dict[str, int]
    ) -> None:
        """A residual that ends here is overwritten in place: each vector is read before."""
        layer = plan.layer
        assert isinstance(layer, ConvolutionLayer)
        assert layer.stream is not None
        name, residual = layer.stream.tensor, layer.residual
        end = self._last.get(name, index)
        owner = f"tensor {name}"
        self.movable[owner] = name
        if name in self._outside:
            if not self._config.memory.spill_vectors:
                raise ProgramError(
                    f"{owner} must fit the stream memory with the others: it needs "
                    f"{output.vectors} vectors, the stream memory has "
                    f"{self._config.memory.stream_vectors}"
                )
            form = entry_formats(self._config)[DmaTarget.STREAMS]
            pixel = form.words_of(output.blocks)
            self._place_outside(name, pixel, output.width, output.height, index)
            return
        if (
            residual is not None
            and residual.window == 1
            and self._last[residual.tensor] == index
            and plan.residual_source == output
            and residual.tensor in streams
        ):
            base = streams[residual.tensor]
            self._stream.place(base, output.vectors, index, end, owner)
        else:
            base = self._stream.allocate(owner, output.vectors, index, end)
        streams[name] = base


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
