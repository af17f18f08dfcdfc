"""The commands of ``lqfpga`` that trade the precision of a model for cycles."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from host.command_parameters import FILE, FOLDER, PLANE_COUNTS

__all__ = ["early_exit", "mixed_precision", "progressive"]

IMAGES = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=FILE)
@click.option("--preset", default="ulx3s-85f", show_default=True, help="Configuration.")
@click.option("--images", type=IMAGES, help="Labelled folder or .npz; by default CIFAR-10's tests.")
@click.option("--limit", type=click.IntRange(1), help="Use only so many of these.")
@click.option("--calibration-images", "sample", type=IMAGES, help="By default CIFAR-10's training.")
@click.option(
    "--calibration", type=click.IntRange(1), default=500, show_default=True, help="Images of these."
)
@click.option(
    "--fit-activations",
    is_flag=True,
    help="Also fit the bases of activations to the calibration images; seldom better.",
)
@click.option("--data", "folder", type=FOLDER, help="Prepared CIFAR-10, if not the cache.")
@click.option("-o", "--output", type=FILE, help="Program file that has all prefixes.")
@click.option("--models", type=FOLDER, help="Folder for the model files of the shorter prefixes.")
@click.option(
    "--rtl", type=click.IntRange(0), default=0, help="Images that the gateware runs in each prefix."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def progressive(
    model: Path,
    preset: str,
    images: Path | None,
    limit: int | None,
    sample: Path | None,
    calibration: int,
    fit_activations: bool,
    folder: Path | None,
    output: Path | None,
    models: Path | None,
    rtl: int,
    as_json: bool,
) -> None:
    """Run one exported MODEL with its first 1, 2, ... weight planes.

    The planes of each output channel are taken in the order of their basis entries, the largest
    first. Each prefix has these entries fitted again (least squares against all planes) and its
    batch normalisations corrected on calibration images. One program has all prefixes: they share
    the weights, and the host chooses one for each image by the address that it starts
    (`lqfpga run --planes`). Prints accuracy in integers and cycles of each. With --rtl, exit code
    1 if the gateware differs in one bit or cycle.

    \b
    Examples:
      lqfpga progressive models/resnet20-cifar10-w2a2.onnx
      lqfpga progressive w4a4.onnx --preset simulation-large -o w4a4.lqp --models prefixes
      lqfpga progressive small.onnx --preset tiny --images test.npz --calibration-images train.npz
    """
    from rich.console import Console
    from rich.progress import Progress

    from compiler.prefixes import compile_prefixes
    from compiler.program_file import save_program
    from golden.graph_export import graph_bytes
    from golden.lowering import lower
    from golden.onnx_import import import_model
    from golden.progressive import progressive_graphs
    from host.labelled_images import calibration_images, labelled_images
    from host.progression import co_verify, measure, progression_table
    from hw.config import preset as find_preset

    config = find_preset(preset)
    graph = import_model(model)
    chosen = labelled_images(images, graph, limit, folder)
    samples = calibration_images(sample, graph, calibration, folder)
    console = Console(stderr=True)
    with console.status("calibrate ..."):
        graphs = progressive_graphs(graph, samples, fit_activations=fit_activations)
    networks = [lower(prefix) for prefix in graphs]
    program = compile_prefixes(networks, config)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=len(networks) * len(chosen.pixels))
        result = measure(
            networks,
            program,
            config,
            chosen,
            model=model.stem,
            progress=lambda done: bar.advance(task, done),
        )
    if models is not None:
        models.mkdir(parents=True, exist_ok=True)
        for planes, prefix in enumerate(graphs[:-1], 1):
            (models / f"{model.stem}-{planes}.onnx").write_bytes(graph_bytes(prefix))
    if output is not None:
        save_program(program, output)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        Console().print(progression_table(result))
    if rtl:
        with console.status("simulate ..."):
            report = co_verify(networks, program, config, chosen.pixels[:rtl])
        verdict = "PASSED" if report.passed else "FAILED"
        difference = report.error or report.cycle_difference or report.mismatch or ""
        click.echo(
            f"{verdict}: {report.images} runs on the gateware, {report.values_compared:,} values, "
            f"{report.values_mismatched:,} differ {difference}".rstrip(),
            err=as_json,
        )
        sys.exit(0 if report.passed else 1)


@click.command("early-exit")
@click.argument("model", type=FILE)
@click.option("--preset", default="ulx3s-85f", show_default=True, help="Configuration.")
@click.option("--images", type=IMAGES, help="Labelled folder or .npz; by default CIFAR-10's tests.")
@click.option("--limit", type=click.IntRange(1), help="Use only so many of these.")
@click.option("--data", "folder", type=FOLDER, help="Prepared CIFAR-10, if not the cache.")
@click.option("-o", "--output", type=FILE, help="Program file that can stop early.")
@click.option("--cut", type=click.IntRange(1), help="Groups before its exit; by default the best.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def early_exit(
    model: Path,
    preset: str,
    images: Path | None,
    limit: int | None,
    folder: Path | None,
    output: Path | None,
    cut: int | None,
    as_json: bool,
) -> None:
    """Count the images whose class is certain before the last layer of MODEL is done.

    The last layer's plane pairs are summed in the order of what they can contribute at most. An
    image stops when no input could let the pairs left change its class; the bounds are exact
    integers. Prints, after each group of pairs, the share of images that have stopped, the cycles
    of a program that computes no more, and the mean cycles of a host that looks at the scores there
    and runs the rest only if it must: --output writes that program, for `lqfpga run --early-exit`.
    Fails if a class is not that of the full run.

    \b
    Examples:
      lqfpga early-exit models/resnet20-cifar10-w2a2.onnx
      lqfpga early-exit models/resnet20-cifar10-w2a2.onnx --limit 500 -o resnet20.lqp
    """
    from rich.console import Console
    from rich.progress import Progress

    from compiler.exit_program import compile_exits
    from compiler.program_file import save_program
    from golden.lowering import lower
    from golden.onnx_import import import_model
    from host.early_exit import exit_table, measure_exits
    from host.labelled_images import labelled_images
    from hw.config import preset as find_preset

    config = find_preset(preset)
    graph = import_model(model)
    chosen = labelled_images(images, graph, limit, folder)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images", total=len(chosen.pixels))
        network = lower(graph)
        result = measure_exits(
            network,
            config,
            chosen,
            model=model.stem,
            progress=lambda done: bar.advance(task, done),
        )
    if output is not None:
        program = compile_exits(network, (cut or result.best_cut,), config)
        save_program(program, output)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        Console().print(exit_table(result))


@click.command("mixed-precision")
@click.argument("model", type=FILE)
@click.option("--preset", default="ulx3s-85f", show_default=True, help="Configuration.")
@click.option(
    "--weights", type=PLANE_COUNTS, default="1,2,3,4", show_default=True, help="Planes to try."
)
@click.option(
    "--activations", type=PLANE_COUNTS, default="1,2,3,4", show_default=True, help="Planes to try."
)
@click.option("--trials", type=click.IntRange(1), default=100, show_default=True, help="Points.")
@click.option("--images", type=IMAGES, help="Labelled folder or .npz; by default CIFAR-10's tests.")
@click.option(
    "--validation",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="The first of them.",
)
@click.option(
    "--others", type=click.IntRange(0), default=2000, show_default=True, help="Those after these."
)
@click.option("--calibration-images", "sample", type=IMAGES, help="By default CIFAR-10's training.")
@click.option(
    "--calibration", type=click.IntRange(1), default=256, show_default=True, help="Images of these."
)
@click.option("--data", "folder", type=FOLDER, help="Prepared CIFAR-10, if not the cache.")
@click.option("--seed", default=1, show_default=True, help="Of the search.")
@click.option(
    "--output",
    type=FOLDER,
    default=Path("build/mixed-precision"),
    show_default=True,
    help="Folder of the results; a search goes on from what is there.",
)
def mixed_precision(
    model: Path,
    preset: str,
    weights: tuple[int, ...],
    activations: tuple[int, ...],
    trials: int,
    images: Path | None,
    validation: int,
    others: int,
    sample: Path | None,
    calibration: int,
    folder: Path | None,
    seed: int,
    output: Path,
) -> None:
    """Find the planes of each layer of MODEL: accuracy against cycles.

    MODEL is in float, or quantized: then its weights stand for the float ones. Each choice is
    quantized without training: QEM on the weights and on calibration images, batch normalisations
    corrected. Accuracy is that of the integers on validation images, cycles those of the cycle
    model. Planes with which a layer does not fit are left out there. All uniform choices (W1A1,
    W1A2, ...) come first, then NSGA-II mixes them. The points of the front are evaluated on other
    images, too. Writes front.png, points.csv and a model file for each point of the front.

    \b
    Examples:
      lqfpga mixed-precision models/resnet20-cifar10-w2a2.onnx --weights 1,2
      lqfpga mixed-precision w4a4.onnx --preset simulation-large --trials 200
    """
    from host.mixed_run import run_mixed_precision
    from hw.config import preset as find_preset

    run_mixed_precision(
        model,
        find_preset(preset),
        weights=weights,
        activations=activations,
        trials=trials,
        images=images,
        validation=validation,
        others=others,
        sample=sample,
        calibration=calibration,
        folder=folder,
        seed=seed,
        output=output,
    )
