"""``lqfpga export``: from a trained network to a model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.command_parameters import FILE, FOLDER

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from golden.graph import Graph
    from golden.network import LqNetwork

__all__ = ["export"]

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

CalibrationImages = Callable[[tuple[int, int, int]], "np.ndarray"]
"""Makes uint8 [N, height, width, channels] of images of a shape (height, width, channels)."""


@click.command()
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=FILE, help="Model file; by default CHECKPOINT with .onnx.")
@click.option("--calibration", default=500, show_default=True, help="Images that set the ranges.")
@click.option("--images", type=click.Path(path_type=Path), help="Others than CIFAR-10's for that.")
@click.option(
    "--full-precision-bits",
    type=click.IntRange(2, 8),
    default=8,
    show_default=True,
    help="Planes of the weights that are not quantized: they are rounded before the export.",
)
@click.option(
    "--first-layer-bits",
    type=click.IntRange(2, 8),
    help="Planes of those of the layer that reads the image, if fewer: they save cycles.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Round all numbers to such as the hardware holds: the file then computes what it does.",
)
@click.option("--data", "folder", type=FOLDER, help="Prepared data set, if not the cache.")
def export(
    checkpoint: Path,
    output: Path | None,
    calibration: int,
    images: Path | None,
    full_precision_bits: int,
    first_layer_bits: int | None,
    exact: bool,
    folder: Path | None,
) -> None:
    """Export a trained CHECKPOINT to an ONNX file that stock onnxruntime runs.

    CHECKPOINT may be such a file, to give its full-precision weights fewer planes.

    The images are those of CIFAR-10, or a folder of PNG or JPEG files or an .npz as for `sim`,
    already of the network's height and width. A network of ImageNet needs such.

    \b
    Examples:
      lqfpga export resnet20.pt -o resnet20.onnx
      lqfpga export resnet18.pt --images photos/
      lqfpga export resnet20.onnx --first-layer-bits 5 -o faster.onnx
      lqfpga export resnet20.pt --exact -o exact.onnx
    """
    from golden.data import SIZE, load_cifar10
    from sim.images import load_images

    def calibration_images(shape: tuple[int, int, int]) -> np.ndarray:
        height, width, _ = shape
        if images is not None:
            return load_images(images, shape, limit=calibration).pixels
        if (height, width) == (SIZE, SIZE):
            return load_cifar10(folder).train.pixels[:calibration]
        raise click.UsageError(f"--images must be given for images of {width} x {height} pixels")

    planes = {"bits": full_precision_bits, "first_layer_bits": first_layer_bits}
    if checkpoint.suffix == ".onnx" and output is None:
        raise click.UsageError("--output must be given for a model file")
    output = output or checkpoint.with_suffix(".onnx")
    if exact:
        _export_exactly(checkpoint, output, calibration_images, planes)
    elif checkpoint.suffix == ".onnx":
        _export_again(checkpoint, output, calibration_images, planes)
    else:
        _export_checkpoint(checkpoint, output, calibration_images, planes)
    click.echo(f"{output}: {output.stat().st_size} bytes")


def _export_checkpoint(
    checkpoint: Path, output: Path, images: CalibrationImages, planes: dict[str, int | None]
) -> None:
    from golden.checkpoint import load_network
    from golden.export import export_model, round_full_precision

    network = load_network(checkpoint).eval()
    round_full_precision(network, **planes)
    pixels = images(network.image_shape)
    export_model(network, output, labels=_labels(network), calibration_images=pixels)


def _labels(network: LqNetwork) -> tuple[str, ...]:
    """Class names, where the network is one for CIFAR-10."""
    from golden.data import SIZE

    height, width, _ = network.image_shape
    return CIFAR10_LABELS if (height, width, network.classes) == (SIZE, SIZE, 10) else ()


def _export_again(
    path: Path, output: Path, images: CalibrationImages, planes: dict[str, int | None]
) -> None:
    from golden.export import add_ranges, write_model
    from golden.graph import FixedPoint
    from golden.model_rounding import round_model

    model, graph = _loaded(path)
    if any(isinstance(node, FixedPoint) for node in graph.nodes):
        raise click.UsageError("--exact must be given for a model that was exported with it")
    round_model(model, **planes)
    add_ranges(model, images(_image_shape(graph)))
    write_model(model, output)


def _export_exactly(
    path: Path, output: Path, images: CalibrationImages, planes: dict[str, int | None]
) -> None:
    from golden.checkpoint import load_network
    from golden.exact_export import exact_model
    from golden.exactness import inexact_layers
    from golden.export import model_bytes, network_model, write_model
    from golden.onnx_import import import_bytes

    if path.suffix == ".onnx":
        model, graph = _loaded(path)
        shape = _image_shape(graph)
    else:
        network = load_network(path).eval()
        model, shape = network_model(network, _labels(network)), network.image_shape
    model = exact_model(model, images(shape), **planes)
    rounded = inexact_layers(import_bytes(model_bytes(model)))
    write_model(model, output)
    if rounded:
        for name, numbers in rounded.items():
            click.echo(f"still rounded by the hardware: {numbers} of {name}")
    else:
        click.echo("no number is rounded by the hardware")


def _loaded(path: Path) -> tuple[onnx.ModelProto, Graph]:
    """A model file, and its graph."""
    import onnx

    from golden.onnx_import import import_model

    graph = import_model(path)
    return onnx.load_model(path), graph


def _image_shape(graph: Graph) -> tuple[int, int, int]:
    """Height, width and channels of the images of a model."""
    channels, height, width = graph.image.shape
    return height, width, channels
