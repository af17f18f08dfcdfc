"""The command ``lqfpga study``."""

from __future__ import annotations

from pathlib import Path

import click

from host.command_parameters import FOLDER

__all__ = ["STUDY_NAMES", "study"]

STUDY_NAMES = ("counting", "lanes", "widths", "scaling", "peers", "batch")
"""Those of ``host.studies.registry``, which is heavy to import."""


@click.command()
@click.argument("names", metavar="NAME...", type=click.Choice(STUDY_NAMES), nargs=-1, required=True)
@click.option(
    "--output",
    type=FOLDER,
    default=Path("docs/studies"),
    show_default=True,
    help="Folder of the documents; tables and figures are replaced, text stays.",
)
@click.option(
    "--work",
    type=FOLDER,
    default=Path("build/studies"),
    show_default=True,
    help="Folder for tools that only a study needs, and for what they write.",
)
def study(names: tuple[str, ...], output: Path, work: Path) -> None:
    """Measure again what a study of the architecture says.

    \b
    NAME is one of
      counting   AND lanes against lanes that are AND or XNOR: area, cycles
      lanes      utilization of wider and wider elements by the paper's networks
      widths     weight and activation planes against images/s and accuracy
      scaling    one network from the 12F to the 85F
      batch      cycles and SDRAM traffic by the images of a run
      peers      SCALE-Sim and ZigZag on the same shapes (installed below --work)

    \b
    Example:
      lqfpga study lanes widths
    """
    from rich.console import Console

    from host.studies.findings import write_findings
    from host.studies.registry import STUDIES

    progress = Console(stderr=True)
    for name in names:
        findings = STUDIES[name](work, progress)
        files = write_findings(findings, output / f"{name}.md", command=f"lqfpga study {name}")
        click.echo(f"written: {', '.join(map(str, files))}")
