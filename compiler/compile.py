"""The compiler: exported model -> integer network -> program for one accelerator configuration."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    FixedPointOutput,
    IntegerNetwork,
    RawOutput,
)
from hw import isa
from hw.config import AcceleratorConfig

from .emit import Emitter
from .emit_ends import logits_words
from .image import MemoryImage
from .loads import place_tables, resident_loads
from .placement import item_words
from .plan import plan_network
from .program import LayerInfo, Program, ProgramError, TensorInfo
from .stages import cut_stages
from .units import LayerPlan, Plan, Table

__all__ = [
    "ExternalFull",
    "check_external",
    "compile_model",
    "compile_network",
    "image_shape",
    "image_words",
    "layer_infos",
    "tensor_infos",
]


def compile_model(model: Path, config: AcceleratorConfig, *, images: int = 1) -> Program:
    """Compile an exported ONNX file for ``images`` at a time.

    Raises ``ModelError`` or :class:`ProgramError`.
    """
    from golden.batching import batched
    from golden.lowering import lower
    from golden.onnx_import import import_model

    return compile_network(batched(lower(import_model(model)), images), config)


def compile_network(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    *,
    staged: Collection[Table] = frozenset(Table),
    plan: Plan | None = None,
) -> Program:
    """Compile an integer network. Same input, same bytes.

    Args:
        network: With raw output.
        config: Sizes.
        staged: Tables whose resident parts are packed. With fewer the program cannot be run, but
            its cycles are the same as long as the passes are there.
        plan: That of ``network`` for ``config``, if it is known.

    Raises:
        ProgramError: The network has no program for these sizes; the text has the numbers.
    """
    if not network.layers or not isinstance(network.layers[-1].outputs, RawOutput):
        raise ProgramError("network must end in a layer with raw output")
    if plan is not None:
        return _compile(network, config, plan, staged)
    try:
        return _compile(network, config, plan_network(network, config), staged)
    except ExternalFull as full:
        # Fewer weights are loaded for every image if more layers keep theirs on chip.
        try:
            return _compile(network, config, plan_network(network, config, dense=True), staged)
        except ProgramError:
            raise full from None


def _compile(
    network: IntegerNetwork, config: AcceleratorConfig, plan: Plan, staged: Collection[Table]
) -> Program:
    image = MemoryImage()
    placed = place_tables(plan)
    emitter = Emitter(network, plan, config, image, placed)
    addresses = emitter.addresses
    if network.image.name in addresses.external:
        image_address = addresses.image
    else:
        image_address = image.reserve("image", network.image.height * network.image.width)
    logits = logits_words(plan.layers[-1], config)
    result_address = image.reserve("result", network.images * logits)
    emitter.emit_image(image_address, result_address)
    emitter.program.append(isa.Opcode.END, 0, {})
    try:
        stages = cut_stages(resident_loads(plan, placed, config, staged), config)
        image_entry = image.append("instructions", emitter.program.words())
    except isa.IsaError as error:
        raise ProgramError(f"network must fit the instruction set: {error}") from error
    check_external(image, config, addresses.external_words)
    output = network.layers[-1].outputs
    assert isinstance(output, RawOutput)
    return Program(
        network=network.name,
        preset=config.name,
        fingerprint=config.fingerprint,
        stages=stages,
        image_entry=image_entry,
        image_address=image_address,
        image_shape=image_shape(network),
        result_address=result_address,
        result_count=network.layers[-1].output_shape[2],
        images=network.images,
        result_stride=logits,
        result_fraction=output.fraction,
        labels=network.labels,
        layers=layer_infos(plan),
        tensors=tensor_infos(network, plan, emitter, config),
        memory=image.words(),
    )


class ExternalFull(ProgramError):
    """The external memory cannot hold the program."""


def check_external(image: MemoryImage, config: AcceleratorConfig, tensors: int = 0) -> None:
    """Raise :class:`ExternalFull`, with the numbers, unless ``image`` fits its memory beside so
    many words of tensors."""
    needed = image.size + tensors
    if needed > config.memory.external_words:
        uses = image.words_by_use | {"tensors": tensors}
        listed = ", ".join(f"{use} {words}" for use, words in uses.items() if words)
        raise ExternalFull(
            f"program must fit the external memory while it runs: it needs {needed} words "
            f"({listed}), preset {config.name} has {config.memory.external_words}"
        )


def image_shape(network: IntegerNetwork) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    image = network.image
    return image.height // network.images, image.width, image.channels


def layer_infos(plan: Plan) -> tuple[LayerInfo, ...]:
    """The layers of a plan, for reports."""
    return tuple(_layer_info(layer) for layer in plan.layers)


def image_words(image: np.ndarray) -> np.ndarray:
    """A raw uint8 image [H, W, C] as external memory words, one per pixel: bytes c0 c1 c2 c3."""
    height, width, channels = image.shape
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., :channels] = image
    return pixels.reshape(-1, 4).view("<u4").ravel().astype(np.uint32)


def _written(plan: LayerPlan) -> tuple[str, ...]:
    layer = plan.layer
    names = []
    if isinstance(layer, ConvolutionLayer) and layer.stream is not None:
        names.append(layer.stream.tensor)
    if layer.outputs is not None:
        names.append(layer.outputs.tensor)
    return tuple(names)


def _layer_info(plan: LayerPlan) -> LayerInfo:
    layer = plan.layer
    if not isinstance(layer, ConvolutionLayer):
        return LayerInfo(
            tag=plan.tag,
            name=layer.name,
            kind="stream",
            output_shape=layer.output_shape,
            convolution_shape=layer.output_shape,
            weight_label="",
            source_label="",
            binary_macs=0,
            tensors=_written(plan),
        )
    weight_bits, _, kernel_h, kernel_w, channels = layer.weight_planes.shape
    height, width, out_channels = layer.convolution_shape
    planes = layer.coefficients.shape[3]
    macs = height * width * out_channels * kernel_h * kernel_w * channels
    return LayerInfo(
        tag=plan.tag,
        name=layer.name,
        kind="convolution",
        output_shape=layer.output_shape,
        convolution_shape=layer.convolution_shape,
        weight_label=layer.weight_label,
        source_label=layer.source_label,
        binary_macs=macs * weight_bits * planes,
        tensors=_written(plan),
        pool_stride=(1, 1) if layer.pool is None else layer.pool.stride,
        pool_padding=(0, 0) if layer.pool is None else layer.pool.padding[:2],
        images=layer.images,
    )


def tensor_infos(
    network: IntegerNetwork, plan: Plan, emitter: Emitter, config: AcceleratorConfig
) -> tuple[TensorInfo, ...]:
    """Where the tensors of a plan lie."""
    infos = []
    for layer_plan in plan.layers:
        layer, order = layer_plan.layer, layer_plan.order
        height, width, channels = layer.output_shape
        common = {"layer": layer_plan.tag, "channels": channels, "order": order}
        stream = layer_plan.stream_output
        if stream is not None and isinstance(layer, ConvolutionLayer) and layer.stream is not None:
            infos.append(
                TensorInfo(
                    name=layer.stream.tensor,
                    kind="stream",
                    height=stream.height,
                    width=stream.width,
                    planes=network.arithmetic.stream,
                    slots=1,
                    base=emitter.addresses.streams.get(layer.stream.tensor, 0),
                    pixel_stride=stream.blocks,
                    row_stride=stream.row_stride,
                    blocks=emitter.written.of(layer.stream.tensor),
                    **common,
                )
            )
        layout, output = layer_plan.plane_output, layer.outputs
        if layout is not None and isinstance(output, CodeOutput | FixedPointOutput):
            infos.append(
                TensorInfo(
                    name=output.tensor,
                    kind="planes",
                    height=height,
                    width=width,
                    planes=layout.planes,
                    slots=layout.slots,
                    base=emitter.addresses.planes.get(output.tensor, 0) + layout.block_granule(0),
                    pixel_stride=layout.pixel_stride,
                    row_stride=layout.row_stride,
                    blocks=emitter.written.of(output.tensor),
                    **common,
                )
            )
        elif isinstance(output, RawOutput):
            slots = 2 * config.array.rows * item_words(config)
            infos.append(
                TensorInfo(
                    name=output.tensor,
                    kind="raw",
                    height=height,
                    width=width,
                    planes=32,
                    slots=slots,
                    base=emitter.addresses.raw,
                    pixel_stride=slots * layer_plan.channel_tiles,
                    row_stride=slots * layer_plan.channel_tiles * width,
                    **common,
                )
            )
    return tuple(infos)
