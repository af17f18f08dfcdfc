"""Names and opens the waveform that the last failed co-simulation left (``make waves``)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

from .bench import OUT

__all__ = ["find_waveform", "main"]

WAVE_FILES = ("waves.fst", "waves.vcd")
VIEWERS = ("surfer", "gtkwave")


def find_waveform(folder: Path) -> Path | None:
    """The newest waveform file in ``folder``."""
    found = [folder / name for name in WAVE_FILES if (folder / name).exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUT,
    show_default=True,
    help="Folder of the co-simulation.",
)
@click.option("--open/--no-open", "view", default=True, help="Start a viewer, if there is one.")
def main(out: Path, view: bool) -> None:
    """Show the cycles around the first mismatch of the last co-simulation."""
    path = find_waveform(out)
    if path is None:
        raise click.ClickException(
            f"no waveform in {out}: a co-simulation leaves one when it finds a mismatch (make sim)"
        )
    click.echo(path)
    viewer = next((found for name in VIEWERS if (found := shutil.which(name))), None)
    if not view:
        return
    if viewer is None:
        click.echo(f"install {' or '.join(VIEWERS)} to look at it, e.g. sudo apt install gtkwave")
        return
    subprocess.run([viewer, str(path)], check=False)


if __name__ == "__main__":
    main()
