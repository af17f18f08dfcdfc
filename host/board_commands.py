"""The commands of ``lqfpga`` around a board: its bitstream, the board itself, the tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from host.command_parameters import FILE, FOLDER

__all__ = ["bitstream", "doctor", "flash", "memory_test", "run"]


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@click.option("--port", required=True, help="Serial port of the board, such as /dev/ttyUSB0.")
@click.option("--baud", default=3_000_000, show_default=True, help="Rate of the serial port.")
@click.option(
    "--planes", type=click.IntRange(1), help="Weight planes to use, of `lqfpga progressive`'s file."
)
@click.option("--early-exit", is_flag=True, help="Stop early, with `lqfpga early-exit`'s file.")
@click.argument("program", type=FILE)
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
def run(
    port: str,
    baud: int,
    planes: int | None,
    early_exit: bool,
    program: Path,
    images: tuple[Path, ...],
) -> None:
    """Classify IMAGES on a board with a compiled PROGRAM.

    IMAGES are .png or .jpg files of the size that the network takes, folders of them, or .npz
    files. Prints the class and the cycles of each.

    \b
    Examples:
      lqfpga run --port /dev/ttyUSB0 resnet20.lqp cat.png dog.png
      lqfpga run --port COM3 resnet20.lqp models/cifar10-test-8.npz
      lqfpga run --port COM3 --planes 1 progressive.lqp cat.png
    """
    from compiler.program_file import load_program
    from host.classify import classify_images, read_images
    from host.driver import Accelerator
    from host.link import Client
    from host.transport import SerialTransport

    loaded = load_program(program)
    if planes is not None:
        loaded = loaded.with_planes(planes)
    if early_exit and not loaded.exits:
        raise click.UsageError(f"--early-exit: program {program} must have exits, but has none")
    with Client(SerialTransport(port, baud)) as client:
        accelerator = Accelerator(client)
        accelerator.load(loaded)
        chosen = read_images(images, loaded)
        for prediction in classify_images(accelerator, loaded, chosen, early=early_exit):
            click.echo(str(prediction))


@click.command("memory-test")
@click.option("--port", required=True, help="Serial port of the board, such as /dev/ttyUSB0.")
@click.option("--baud", default=3_000_000, show_default=True, help="Rate of the serial port.")
@click.option("--words", type=click.IntRange(min=1), help="32-bit words; by default all.")
def memory_test(port: str, baud: int, words: int | None) -> None:
    """Test the external memory of a board: every bit, every address.

    Writes all words, reads all, and does the same with the inverse words. 32 MB take eight minutes
    over the serial link at its full rate. Exit code 1, with address and bits, if a word differs.

    \b
    Examples:
      lqfpga memory-test --port /dev/ttyUSB0
      lqfpga memory-test --port /dev/ttyUSB0 --words 65536
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from host.link import Client
    from host.memory_test import external_words, run_memory_test
    from host.transport import SerialTransport

    with Client(SerialTransport(port, baud)) as client:
        words = words or external_words(client.identity.preset)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task("memory", total=4 * words)
            result = run_memory_test(
                client, words, lambda done, _total: bar.update(task, completed=done)
            )
    click.echo(f"memory is good: {result.words:,} words, each with two values")
