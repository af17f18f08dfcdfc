"""The command ``lqfpga``. Each command imports what it needs only when it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from host.profile_command import profile

__all__ = ["cli", "main"]

OWN_PACKAGES = ("compiler", "golden", "host", "hw", "sim")
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
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class Bits(click.ParamType):
    """Planes per code: 1..8, or ``float`` for None."""

    name = "BITS"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value == "float":
            return None
        if str(value) not in tuple("12345678"):
            self.fail(f"bits must be 1..8 or float, not {value!r}", param, ctx)
        return int(value)


BITS = Bits()


class ProjectError(click.ClickException):
    """One line on standard error, exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.format_message()}", file=file or sys.stderr)


class ProjectGroup(click.Group):
    """Turns errors that the user can mend into one line; defects of the program stay tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.params.get("traceback") or not _is_users(error):
                raise
            raise ProjectError(_one_line(error)) from error


def _is_users(error: Exception) -> bool:
    if isinstance(error, click.exceptions.Exit | click.Abort | click.ClickException):
        return False
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").partition(".")[0] not in OWN_PACKAGES
    own = type(error).__module__.partition(".")[0] in OWN_PACKAGES
    return own or isinstance(error, ValueError | OSError)


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Python package {error.name} must be installed: run `lqfpga doctor`"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror.lower()}"
    return " ".join(str(error).split())


@click.group(
    cls=ProjectGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--traceback", is_flag=True, help="Show where in the program an error comes from.")
def cli(traceback: bool) -> None:
    """LQ-Nets on an FPGA: train, export, compile, simulate, build, run.

    \b
    First steps, without a board:
      lqfpga doctor                            is everything installed?
      lqfpga train resnet20 --epochs 30        a checkpoint
      lqfpga export resnet20.pt -o model.onnx  the exported model
      lqfpga example-model vgg-small -o model.onnx    or one with random weights
      lqfpga sim model.onnx --limit 1          the accelerator, simulated
      lqfpga profile model.onnx                where its cycles go
    \b
    With a board:
      lqfpga bitstream --board ulx3s           the accelerator, as a bitstream
      lqfpga flash --board ulx3s               into the board
      lqfpga compile model.onnx --preset ulx3s-85f -o model.lqp
      lqfpga run --port /dev/ttyUSB0 model.lqp cat.png
    """


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """List every tool with its version, and how to install the missing ones.

    Exit code 1 if something needed is missing.
    """
    from rich.console import Console

    from host.doctor import examine, is_healthy, print_findings, to_plain

    findings = examine()
    if as_json:
        click.echo(json.dumps(to_plain(findings), indent=2))
    else:
        print_findings(findings, Console())
    sys.exit(0 if is_healthy(findings) else 1)


@cli.command()
@click.option("--board", default="ulx3s", show_default=True, help="ulx3s-12f, -25f, -45f or -85f.")
@click.option("--preset", help="Configuration; by default the one made for the board.")
@click.option("--out", type=FOLDER, help="Folder; by default build/bitstream/BOARD.")
@click.option("--seed", default=1, show_default=True, help="First seed of the placer.")
@click.option("--seeds", default=1, show_default=True, help="Seeds to try; the fastest is kept.")
@click.option("--clock", type=float, help="Clock in MHz, if not that of the preset.")
def bitstream(
    board: str, preset: str | None, out: Path | None, seed: int, seeds: int, clock: float | None
) -> None:
    """Synthesise, place and route the accelerator for a board.

    Takes a minute for the smallest preset and some ten for the largest. Writes BOARD.bit,
    report.json, report.txt and floorplan.png, and fails if the clock is not met.

    \b
    Examples:
      lqfpga bitstream --board ulx3s-12f --preset tiny
      lqfpga bitstream --board ulx3s-85f --seeds 4 --clock 65
    """
    from host.bitstream import build

    report = build(board, preset, out=out, seed=seed, seeds=seeds, clock=clock)
    click.echo(report.to_text(), nl=False)


@cli.command()
@click.argument("bitstream", type=FILE, required=False)
@click.option("--board", default="ulx3s", show_default=True, help="The connected board.")
@click.option("--permanent", is_flag=True, help="Keep the design when the power goes off.")
def flash(bitstream: Path | None, board: str, permanent: bool) -> None:
    """Program a connected board, with BITSTREAM or what `lqfpga bitstream` made last.

    \b
    Examples:
      lqfpga flash --board ulx3s-12f
      lqfpga flash build/bitstream/ulx3s/ulx3s.bit --permanent
    """
    from host.flash import flash as program_board

    bitstream = bitstream or Path("build/bitstream") / board / f"{board}.bit"
    program_board(bitstream, board, permanent=permanent)


@cli.command("compile")
@click.argument("model", type=FILE)
@click.option("--preset", default="ulx3s-85f", show_default=True, help="Configuration.")
@click.option("-o", "--output", type=FILE, help="Program file; by default MODEL with .lqp.")
def compile_command(model: Path, preset: str, output: Path | None) -> None:
    """Compile an exported MODEL (.onnx, or QONNX of Brevitas) to a program for one configuration.

    \b
    Example:
      lqfpga compile resnet20.onnx --preset ulx3s-85f -o resnet20.lqp
    """
    from compiler.compile import compile_model
    from hw.config import preset as find_preset

    config = find_preset(preset)
    program = compile_model(model, config)
    output = output or model.with_suffix(".lqp")
    program.save(output)
    stages = " + ".join(str(len(stage.memory)) for stage in program.stages) or "0"
    click.echo(
        f"{output}: {len(program.layers)} layers, {stages} words to load, then "
        f"{len(program.memory)} of {config.memory.external_words} words of external memory to run"
    )


@cli.command()
@click.argument("program", type=FILE)
def disassemble(program: Path) -> None:
    """Print the instructions of a PROGRAM file.

    \b
    Example:
      lqfpga disassemble resnet20.lqp | less
    """
    from compiler.disassembler import disassemble as listing
    from compiler.program import Program

    click.echo(listing(Program.load(program)))


@cli.command()
@click.option("--port", required=True, help="Serial port of the board, such as /dev/ttyUSB0.")
@click.option("--baud", default=3_000_000, show_default=True, help="Rate of the serial port.")
@click.argument("program", type=FILE)
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
def run(port: str, baud: int, program: Path, images: tuple[Path, ...]) -> None:
    """Classify IMAGES on a board with a compiled PROGRAM.

    IMAGES are .png or .jpg files of the size that the network takes, folders of them, or .npz
    files. Prints the class and the cycles of each.

    \b
    Examples:
      lqfpga run --port /dev/ttyUSB0 resnet20.lqp cat.png dog.png
      lqfpga run --port COM3 resnet20.lqp models/cifar10-test-8.npz
    """
    from compiler.program import Program
    from host.classify import classify_images, read_images
    from host.driver import Accelerator
    from host.link import Client
    from host.transport import SerialTransport

    loaded = Program.load(program)
    with Client(SerialTransport(port, baud)) as client:
        accelerator = Accelerator(client)
        accelerator.load(loaded)
        for prediction in classify_images(accelerator, loaded, read_images(images, loaded)):
            click.echo(str(prediction))


@cli.command()
@click.argument("model", type=FILE)
@click.argument("images", type=click.Path(path_type=Path), required=False)
@click.option("--limit", type=click.IntRange(1), help="Simulate only so many images.")
@click.option("--preset", default="ulx3s-85f", show_default=True, help="Configuration.")
@click.option(
    "--simulator",
    type=click.Choice(["verilator", "icarus"]),
    default="verilator",
    show_default=True,
    help="icarus is slow, but knows undefined values.",
)
@click.option("--out", type=FOLDER, help="Folder of the report.")
@click.option("--waves/--no-waves", default=True, show_default=True, help="Waves of a mismatch.")
def sim(
    model: Path,
    images: Path | None,
    limit: int | None,
    preset: str,
    simulator: str,
    out: Path | None,
    waves: bool,
) -> None:
    """Simulate the gateware on IMAGES and compare every tensor with the integer network.

    MODEL is an exported model, or a QONNX file of Brevitas (docs/import.md). IMAGES is a folder of
    .png or .jpg files, or an .npz file; without it the input is noise. Exit code 1 if a single bit
    differs.

    \b
    Examples:
      lqfpga sim resnet20.onnx pictures/ --limit 5
      lqfpga sim tiny.onnx --preset tiny --simulator icarus
    """
    from sim.cosimulation import simulate

    options: dict[str, Any] = {} if out is None else {"out": out}
    report = simulate(
        model,
        images,
        limit=limit,
        preset_name=preset,
        simulator=simulator,
        waves=waves,
        **options,
    )
    sys.exit(0 if report.passed else 1)


@cli.command()
@click.argument("models", type=FILE, nargs=-1, required=True)
@click.option("--images", type=click.Path(path_type=Path), help="Folder or .npz, as for `sim`.")
@click.option("--limit", default=2, show_default=True, help="Images simulated per model.")
@click.option("--board", default="ulx3s", show_default=True, help="Board whose bitstream is used.")
@click.option("--out", type=FOLDER, default=Path("build/bench"), show_default=True)
def bench(models: tuple[Path, ...], images: Path | None, limit: int, board: str, out: Path) -> None:
    """Measure area, clock, cycles and speeds, and print them beside the figures of others.

    Builds the board's bitstream if there is none of these sources (a quarter of an hour for the
    largest). Writes report.json.

    \b
    Examples:
      lqfpga bench models/resnet20-cifar10-w2a2.onnx --images models/cifar10-test-8.npz
    """
    from rich.console import Console

    from host.benchmark import run

    run(list(models), images, board_name=board, limit=limit, out=out, console=Console())


@cli.command()
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


@cli.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    options_metavar="",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train a network; `lqfpga train --help` lists the options.

    \b
    Example:
      lqfpga train resnet20 --weights 2 --activations 2 --output resnet20.pt
    """
    from golden.train import parse_arguments
    from golden.train import train as run_training

    run_training(parse_arguments(list(arguments)))


@cli.command("import")
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--network", required=True, help="Network of the checkpoint: resnet20.")
@click.option("-o", "--output", type=FILE, help="Checkpoint; by default FILE with .pt.")
def import_command(source: Path, network: str, output: Path | None) -> None:
    """Import a checkpoint of the LQ-Nets reference code (TensorFlow, tensorpack).

    FILE is the .npz file that tensorpack's dump-model-params.py makes of a checkpoint. Every
    variable that the network needs must be there, and none that it does not know. QONNX files of
    Brevitas need no import: `sim` and `compile` take them as MODEL.

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


@cli.command()
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=FILE, help="Model file; by default CHECKPOINT with .onnx.")
@click.option("--calibration", default=500, show_default=True, help="Images that set the ranges.")
@click.option(
    "--full-precision-bits",
    type=click.IntRange(2, 8),
    default=8,
    show_default=True,
    help="Planes of the weights that are not quantized: they are rounded before the export.",
)
@click.option("--data", "folder", type=FOLDER, help="Prepared data set, if not the cache.")
def export(
    checkpoint: Path,
    output: Path | None,
    calibration: int,
    full_precision_bits: int,
    folder: Path | None,
) -> None:
    """Export a trained CHECKPOINT to an ONNX file that stock onnxruntime runs.

    \b
    Example:
      lqfpga export resnet20.pt -o resnet20.onnx
    """
    from golden.checkpoint import load_network
    from golden.data import load_cifar10
    from golden.export import export_model, round_full_precision

    network = load_network(checkpoint).eval()
    round_full_precision(network, full_precision_bits)
    images = load_cifar10(folder).train.pixels[:calibration]
    output = output or checkpoint.with_suffix(".onnx")
    export_model(network, output, labels=CIFAR10_LABELS, calibration_images=images)
    click.echo(f"{output}: {output.stat().st_size} bytes")


@cli.command("example-model")
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


@cli.command()
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


cli.add_command(profile)


def main() -> None:
    """Entry point of the command ``lqfpga``."""
    cli(prog_name="lqfpga")


if __name__ == "__main__":
    main()
