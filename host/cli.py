"""The command ``lqfpga``. Each command imports what it needs only when it runs."""

from __future__ import annotations

import sys
from typing import Any

import click

from host.board_commands import bitstream, doctor, flash, memory_test, run
from host.explore_commands import calibrate, explore
from host.export_command import export
from host.network_commands import data, evaluate, example_model, import_command, train
from host.precision_commands import early_exit, mixed_precision, progressive
from host.profile_command import profile
from host.program_commands import bench, compile_command, disassemble, sim
from host.study_commands import study

__all__ = ["cli", "main"]

OWN_PACKAGES = ("compiler", "golden", "host", "hw", "sim")


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
      lqfpga explore model.onnx                which accelerator would suit it best
    \b
    With a board:
      lqfpga bitstream --board ulx3s           the accelerator, as a bitstream
      lqfpga flash --board ulx3s               into the board
      lqfpga compile model.onnx --preset ulx3s-85f -o model.lqp
      lqfpga run --port /dev/ttyUSB0 model.lqp cat.png
    """


for command in (
    doctor,
    bitstream,
    flash,
    compile_command,
    disassemble,
    run,
    memory_test,
    sim,
    profile,
    explore,
    calibrate,
    study,
    progressive,
    early_exit,
    mixed_precision,
    bench,
    data,
    train,
    import_command,
    export,
    example_model,
    evaluate,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the command ``lqfpga``."""
    cli(prog_name="lqfpga")


if __name__ == "__main__":
    main()
