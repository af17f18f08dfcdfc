"""The commands of ``lqfpga`` that compile, simulate and measure exported models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from host.command_parameters import FILE, FOLDER
from sim.command_options import BATCH, PRESET

__all__ = ["bench", "compile_command", "disassemble", "sim"]

REPORT_WIDTH = 140
"""Columns of tables in a file or pipe."""


@click.command("compile")
@click.argument("model", type=FILE)
@PRESET
@BATCH
@click.option("-o", "--output", type=FILE, help="Program file; by default MODEL with .lqp.")
def compile_command(model: Path, preset: str | None, batch: int, output: Path | None) -> None:
    """Compile an exported MODEL (.onnx, or QONNX of Brevitas) to a program for one configuration.

    With --batch, a run takes several images, at most as many as the array has columns: fully
    connected layers compute them side by side, and all layers load their weights once.

    \b
    Examples:
      lqfpga compile resnet20.onnx --preset ulx3s-85f -o resnet20.lqp
      lqfpga compile alexnet.onnx --preset ulx3s-85f-sdram --batch 4
    """
    from compiler.preset_choice import compile_for_preset
    from compiler.program_file import save_program
    from golden.batching import batched
    from golden.lowering import lower
    from golden.onnx_import import import_model
    from hw.config import preset as find_preset

    if preset is not None:
        find_preset(preset)
    network = batched(lower(import_model(model)), batch)
    program, config, note = compile_for_preset(network, preset)
    if note:
        click.echo(note, err=True)
    output = output or model.with_suffix(".lqp")
    save_program(program, output)
    stages = " + ".join(str(len(stage.memory)) for stage in program.stages) or "0"
    click.echo(
        f"{output}: {len(program.layers)} layers, {stages} words to load, then "
        f"{len(program.memory)} of {config.memory.external_words} words of external memory to run"
    )


@click.command()
@click.argument("program", type=FILE)
def disassemble(program: Path) -> None:
    """Print the instructions of a PROGRAM file.

    \b
    Example:
      lqfpga disassemble resnet20.lqp | less
    """
    from compiler.disassembler import disassemble as listing
    from compiler.program_file import load_program

    click.echo(listing(load_program(program)))


@click.command()
@click.argument("model", type=FILE)
@click.argument("images", type=click.Path(path_type=Path), required=False)
@click.option("--limit", type=click.IntRange(1), help="Simulate only so many images.")
@PRESET
@BATCH
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
    preset: str | None,
    batch: int,
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
        batch=batch,
        preset_name=preset,
        simulator=simulator,
        waves=waves,
        **options,
    )
    sys.exit(0 if report.passed else 1)


@click.command()
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

    console = Console()
    if not console.is_terminal:
        console = Console(width=REPORT_WIDTH)
    run(list(models), images, board_name=board, limit=limit, out=out, console=console)
