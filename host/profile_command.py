"""The command ``lqfpga profile``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sim.command_options import BATCH, PRESET

__all__ = ["profile"]

PICTURES = ("profile.png", "roofline.png")


@click.command()
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@PRESET
@BATCH
@click.option("--rtl", is_flag=True, help="Simulate the gateware, too, and compare.")
@click.option(
    "--images",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Images of noise that --rtl simulates, or batches; the cycles do not depend on them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/profile"),
    show_default=True,
    help="Folder of the report and the pictures.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def profile(
    model: Path, preset: str | None, batch: int, rtl: bool, images: int, out: Path, as_json: bool
) -> None:
    """Show where the cycles of an exported MODEL go, layer by layer.

    The cycle model tells in a moment what the gateware takes. Every cycle of a layer has one cause:
    the array works, or what it waits for. Writes report.json, profile.png (the causes) and
    roofline.png (the layers against the limits of the array and of the memory port). With --rtl,
    exit code 1 if the gateware differs in one cycle.

    \b
    Examples:
      lqfpga profile models/resnet20-cifar10-w2a2.onnx
      lqfpga profile small.onnx --preset tiny --rtl --images 2
    """
    from dataclasses import replace

    from rich.console import Console

    from compiler.preset_choice import compile_for_preset
    from golden.batching import batched
    from golden.lowering import lower
    from golden.onnx_import import import_model
    from host.routed_clock import board_clock
    from hw.config import preset as find_preset
    from sim.cosimulation import simulate
    from sim.profile import RtlRun, profile_program
    from sim.profile_pictures import draw_profile, draw_roofline
    from sim.profile_tables import print_profile

    if preset is not None:
        find_preset(preset)
    console, progress = Console(), Console(stderr=True)
    with progress.status("compile model ..."):
        network = batched(lower(import_model(model)), batch)
        program, config, note = compile_for_preset(network, preset)
    if note:
        progress.print(note, markup=False, highlight=False)
    clock = board_clock(config)
    result = profile_program(program, config, model=model.stem, clock=clock)
    if rtl:
        report = simulate(
            model,
            limit=images * batch,
            batch=batch,
            preset_name=preset,
            waves=False,
            console=progress,
        )
        result = replace(result, rtl=RtlRun.of_report(report))
    with progress.status("draw pictures ..."):
        draw_profile(result, out / PICTURES[0])
        draw_roofline(result, out / PICTURES[1])
    report_file = result.save(out)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_profile(result, console)
        files = ", ".join(str(path) for path in (report_file, *(out / name for name in PICTURES)))
        console.print(f"written: {files}", markup=False, highlight=False)
    sys.exit(0 if result.rtl is None or result.rtl.difference is None else 1)
