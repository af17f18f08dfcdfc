"""The commands ``lqfpga explore`` and ``lqfpga calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from host.command_parameters import FILE, FOLDER

__all__ = ["calibrate", "explore"]


@click.command()
@click.argument("model", type=FILE)
@click.option("--board", default="ulx3s", show_default=True, help="ulx3s-12f, -25f, -45f or -85f.")
@click.option("--space", type=FILE, help="TOML file: what to vary, objectives, limits.")
@click.option("--trials", type=click.IntRange(1), default=1000, show_default=True, help="Points.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; by default one per core.")
@click.option("--scheduler", help="Dask scheduler, such as tcp://host:8786, in place of --jobs.")
@click.option(
    "--confirm", type=click.IntRange(0), default=0, help="Points of the front to build for real."
)
@click.option(
    "--route/--no-route",
    default=None,
    help="Place and route them, too; by default on a 12F or 25F, which takes minutes.",
)
@click.option("--seed", default=1, show_default=True, help="Of the search.")
@click.option(
    "--output",
    type=FOLDER,
    default=Path("build/explore"),
    show_default=True,
    help="Folder of the report; a search goes on from what is there.",
)
def explore(
    model: Path,
    board: str,
    space: Path | None,
    trials: int,
    jobs: int | None,
    scheduler: str | None,
    confirm: int,
    route: bool | None,
    seed: int,
    output: Path,
) -> None:
    """Find the accelerators that suit an exported MODEL and a board best.

    Each candidate is compiled for and run through the cycle model, which takes the cycles of the
    gateware; block RAMs and multipliers are exact, LUT4 and flip-flops come from a model fitted on
    real synthesis. A space of at most --trials points is looked at as a whole, a larger one by
    NSGA-II. What does not fit the board, or has no program, is kept with the reason.

    Images/s of a 12F, 25F or 45F without SDRAM are at a clock from a model fitted on real place and
    route, all others at that of the board's preset (or its preset with SDRAM): the line below the
    table says which, and how wrong the model is on designs that it does not know.

    Beside sizes a space may vary the images of a run (batch) and the external memory
    (external_memory: "block RAM", "16Mx16", "32Mx16"), and begin at a preset with SDRAM, such as
    base = "ulx3s-85f-sdram".

    \b
    Examples:
      lqfpga explore models/resnet20-cifar10-w2a2.onnx --board ulx3s-12f
      lqfpga explore models/resnet20-cifar10-w2a2.onnx --board ulx3s-12f --confirm 2
      lqfpga explore my.onnx --space space.toml --trials 3000 --output build/my
    """
    from host.exploration import run_exploration

    run_exploration(
        model,
        board_name=board,
        space=space,
        trials=trials,
        jobs=jobs,
        scheduler=scheduler,
        seed=seed,
        output=output,
        confirmed=confirm,
        route=route,
    )


@click.command()
@click.option("--data", type=FILE, help="CSV file; by default the one of the repository.")
@click.option("--clock", is_flag=True, help="Place and route for the clock model instead.")
@click.option(
    "--only", default="", help="Synthesise only what begins so, such as sdram-; not with --clock."
)
def calibrate(data: Path | None, clock: bool, only: str) -> None:
    """Synthesise a designed set of configurations and fit the area model on it.

    Goes on with what the CSV file does not have yet of these sources and tools; a configuration
    takes one to three minutes, with --clock four to ten. Prints the errors of the model on
    configurations that it does not know. `explore` uses both models.
    """
    from rich.console import Console

    if clock:
        if only:
            raise click.UsageError("--only must be left out with --clock, which routes its own set")
        from host.clock_calibration import calibrate_clock, clock_error_table
        from sim.explore.clocks import CLOCKS, ClockModel

        Console().print(clock_error_table(ClockModel(calibrate_clock(data or CLOCKS))))
        return

    from host.calibration import calibrate as run_calibration
    from host.calibration import designed_set, error_table, split
    from sim.explore.area import AreaModel
    from sim.explore.measurements import CALIBRATION

    names = [config.name for config in designed_set()]
    if not any(name.startswith(only) for name in names):
        raise click.UsageError(
            f"--only must be a beginning of one of {', '.join(names)}, not {only}"
        )
    fitted, held_out = split(run_calibration(data or CALIBRATION, only=only))
    Console().print(error_table(AreaModel(fitted), held_out))
