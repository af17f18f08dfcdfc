"""Command line of the co-simulation: ``python -m sim MODEL``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from compiler.program import ProgramError
from golden.graph import ModelError
from hw.config import PRESETS, ConfigError

from .bench import OUT, SIMULATORS
from .command_options import BATCH, PRESET_HELP
from .cosimulation import simulate
from .images import ImageError
from .monitor import MonitorError
from .simulator import SimulatorError

ERRORS = (ModelError, ProgramError, ConfigError, ImageError, MonitorError, SimulatorError)
"""What is wrong with the input or the installation: one line without a traceback."""

HELP = """Run an exported model on the RTL and compare every tensor with the reference.

MODEL is an ONNX file that the exporter of this project has written, or a QONNX file of Brevitas
(docs/import.md says what such a file may hold). The model is compiled for a preset of the
accelerator, the accelerator's Verilog is built with a simulator (once: later runs find the build),
and every image runs through it. Accumulators, stored tensors and logits of all layers are compared
bit for bit with the integer reference.

\b
Examples:
  python -m sim model.onnx                       one image of noise
  python -m sim model.onnx --images photos/      all PNG and JPEG files of a folder
  python -m sim model.onnx --images test.npz --limit 10
  python -m sim model.onnx --images test.npz --batch 4
  python -m sim model.onnx --preset tiny --simulator icarus

The exit status is 0 if all values are equal, 1 if one differs, 2 if it could not be run.
On a mismatch the file build/sim/waves.fst (or .vcd) shows the cycles around it.
"""


@click.command(help=HELP)
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of PNG or JPEG files, or .npz with `images` (uint8, count x height x width x "
    "channels) and maybe `labels`. Without it the input is noise.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first images.")
@BATCH
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(sorted(PRESETS)),
    help=PRESET_HELP,
)
@click.option(
    "--simulator",
    type=click.Choice(SIMULATORS),
    default="verilator",
    show_default=True,
    envvar="SIM",
    help="icarus finds unknown values, but is slow: for small presets.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUT,
    show_default=True,
    help="Folder for builds, report.json and waveforms.",
)
@click.option("--waves/--no-waves", default=True, help="Record a waveform on a mismatch.")
def main(
    model: Path,
    images: Path | None,
    limit: int | None,
    batch: int,
    preset_name: str | None,
    simulator: str,
    out: Path,
    waves: bool,
) -> None:
    try:
        report = simulate(
            model,
            images,
            limit=limit,
            batch=batch,
            preset_name=preset_name,
            simulator=simulator,
            out=out,
            waves=waves,
        )
    except ERRORS as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    sys.exit(0 if report.passed else 1)


if __name__ == "__main__":
    main()
