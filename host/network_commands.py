"""The commands of ``lqfpga`` that train, import, export and evaluate networks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from host.command_parameters import BITS, FILE, FOLDER

__all__ = ["data", "evaluate", "example_model", "import_command", "train"]


@click.command()
@click.option("--source", type=FOLDER, help="Folder with the original files, to need no network.")
def data(source: Path | None) -> None:
    """Fetch CIFAR-10 and prepare it for training.

    \b
    Examples:
      lqfpga data
      lqfpga data --source ~/cifar-10-batches-py
    """
    from golden.data import prepare

    prepare(source=source, report=click.echo)


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    options_metavar="",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train a network; `lqfpga train --help` lists the options.

    \b
    Examples:
      lqfpga train --list-recipes
      lqfpga train resnet20 --recipe paper --weights 2 --activations 2 --output resnet20.pt
    """
    from golden.train import run as run_training

    run_training(list(arguments))


@click.command("import")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--network", required=True, help="Network of the checkpoint, see above.")
@click.option("-o", "--output", type=FILE, help="Checkpoint; by default FILE with .pt.")
def import_command(source: Path, network: str, output: Path | None) -> None:
    """Import a checkpoint of the LQ-Nets reference code (TensorFlow, tensorpack).

    FILE is the .npz file that tensorpack's dump-model-params.py makes of a checkpoint. Every
    variable that the network needs must be there, and none that it does not know. QONNX files of
    Brevitas need no import: `sim` and `compile` take them as MODEL.

    \b
    The network is one of (and in that code)
      resnet20, vgg-small                                tensorpack's, cifar10-vgg-small
      alexnet, vgg-variant, googlenet-variant            --mode alexnet, vgg, googlenet
      resnet18, resnet34, resnet50                       --mode preact, or resnet (weights only)
      resnet18-type-a, resnet34-type-a, resnet50-type-a  --mode preact_typeA
      densenet121-released                               --mode densenet
      densenet121                                        the same with its flag `first` set

    docs/import.md says what becomes of the normalization of ImageNet's images.

    \b
    Example:
      lqfpga import resnet20.npz --network resnet20 -o resnet20.pt
      lqfpga export resnet20.pt -o resnet20.onnx
      lqfpga evaluate resnet20.onnx
    """
    from golden.reference_import import import_checkpoint

    output = output or source.with_suffix(".pt")
    imported = import_checkpoint(source, network, output)
    bits = [
        "float" if planes is None else f"{planes}-bit"
        for planes in (imported.weight_bits, imported.activation_bits)
    ]
    click.echo(
        f"{output}: {network}, {bits[0]} weights, {bits[1]} activations, "
        f"{imported.variables} variables; {imported.ignored} of training left out"
    )


@click.command("example-model")
@click.argument("network")
@click.option("--weights", type=BITS, default="2", show_default=True, help="1..8, or float.")
@click.option("--activations", type=BITS, default="2", show_default=True, help="1..8, or float.")
@click.option(
    "--encoding",
    type=click.Choice(["unsigned", "signed"]),
    default="unsigned",
    show_default=True,
    help="Activation code bits: {0,1} or {-1,+1}.",
)
@click.option("--seed", default=1, show_default=True, help="Of weights and images.")
@click.option("--image-size", type=click.IntRange(1), help="Height and width, if not as trained.")
@click.option("-o", "--output", type=FILE, required=True, help="Model file.")
def example_model(
    network: str,
    weights: int | None,
    activations: int | None,
    encoding: str,
    seed: int,
    image_size: int | None,
    output: Path,
) -> None:
    """Export NETWORK with random weights, to try compiler and simulator without training.

    Bases and batch-norm statistics are fitted to random images, so that all codes occur. The
    scores mean nothing. With float activations ResNets have post-activation blocks.

    \b
    NETWORK is one of
      resnet20, vgg-small                                32 x 32 pixels
      alexnet, vgg-variant, googlenet-variant            ImageNet
      resnet18, resnet34, resnet50                       ImageNet
      resnet18-type-a, resnet34-type-a, resnet50-type-a  shortcuts without weights
      densenet121                                        ImageNet
      densenet121-released                               inputs of dense blocks in float

    \b
    Examples:
      lqfpga example-model vgg-small --weights 1 --activations 2 -o vgg.onnx
      lqfpga example-model resnet18 --image-size 64 -o small.onnx
    """
    from rich.console import Console
    from rich.progress import Progress

    from golden.example_model import CALIBRATION_PASSES, calibrated_network, example_images
    from golden.export import export_model
    from golden.quantizers import ActivationEncoding

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("calibration", total=CALIBRATION_PASSES)
        model = calibrated_network(
            network,
            weights,
            activations,
            ActivationEncoding(encoding),
            seed=seed,
            image_size=image_size,
            progress=lambda: bar.advance(task),
        )
        images = example_images(model.image_shape, seed=seed)
        export_model(model, output, calibration_images=images)
    click.echo(f"{output}: {output.stat().st_size} bytes")


@click.command()
@click.argument("model", type=FILE)
@click.option("--limit", type=click.IntRange(1), help="Use only so many test images.")
@click.option("--data", "folder", type=FOLDER, help="Prepared data set, if not the cache.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def evaluate(model: Path, limit: int | None, folder: Path | None, as_json: bool) -> None:
    """Compare an exported MODEL in float and in integers on the CIFAR-10 test images.

    \b
    Example:
      lqfpga evaluate resnet20.onnx --limit 1000
    """
    from rich.console import Console
    from rich.progress import Progress

    from golden.data import load_cifar10
    from golden.evaluate import evaluate as compare
    from golden.evaluate import evaluation_table

    content = model.read_bytes()
    test = load_cifar10(folder).test
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("images")
        result = compare(
            content,
            test.pixels[:limit],
            test.labels[:limit],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        Console().print(evaluation_table(result))
