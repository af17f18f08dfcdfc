"""Networks of the paper in their full size on the RTL of the largest board: ``make sim-large``."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from compiler.compile import compile_network, image_shape
from compiler.program import Program, ProgramError
from golden.batching import batched
from golden.example_model import calibrated_network, example_images
from golden.export import export_model
from golden.graph import ModelError
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import AcceleratorConfig, preset

from .bench import VERILOG_FOLDER
from .cosimulation import simulate
from .design import verilog_digest
from .large_figures import (
    LEGEND,
    Figures,
    Outcome,
    figures_of,
    figures_table,
    load_figures,
    save_summary,
    write_text,
)
from .profile import REPORT_FILE, Clock, Profile, profile_program
from .profile_pictures import draw_profile, draw_roofline
from .roofline import roofline_markdown
from .simulator import SimulatorError

__all__ = ["CASES", "Case", "known_figures", "make_model", "run_cases"]

OUT = Path("build") / "sim-large"
BUILDS = "builds"
SUMMARY = "summary.md"


@dataclass(frozen=True)
class Case:
    """One network on one preset."""

    network: str
    weights: int
    activations: int
    preset: str = "ulx3s-85f-sdram"
    image_size: int | None = None
    """None: the network's own."""
    batch: int = 1
    """Images that are computed at once."""

    @property
    def model(self) -> str:
        """Name of the model, which cases with another preset or batch share."""
        size = "" if self.image_size is None else f"-{self.image_size}"
        return f"{self.network}{size}-w{self.weights}a{self.activations}"

    @property
    def name(self) -> str:
        return self.model if self.batch == 1 else f"{self.model}-batch{self.batch}"


CASES = (
    Case("googlenet-variant", 2, 2),
    Case("resnet18", 2, 2),
    Case("alexnet", 2, 2),
    Case("densenet121", 2, 2),
    Case("resnet34", 2, 2),
    Case("resnet50", 2, 2),
    Case("vgg-variant", 1, 2),
    Case("vgg-variant", 2, 2, "ulx3s-85f-sdram64"),
    Case("googlenet-variant", 1, 2),
    Case("resnet18", 1, 2),
    Case("alexnet", 1, 2),
    Case("densenet121", 1, 2),
    Case("resnet34", 1, 2),
    Case("resnet50", 1, 2),
    Case("alexnet", 2, 2, batch=4),
    Case("resnet18", 2, 2, batch=4),
)
"""In the order in which they run: the quick ones first."""


def run_cases(
    cases: Sequence[Case], out: Path, console: Console, *, failed: Callable[[str], None]
) -> list[Figures]:
    """Run what has not been run with the same program and design; results stay in ``out``.

    ``failed`` hears of the cases that cannot be run, and why; the others go on.
    """
    found = []
    for number, case in enumerate(cases, 1):
        console.rule(f"{case.name} on {case.preset} ({number} of {len(cases)})")
        try:
            found.append(_run(case, out, console))
        except (ModelError, ProgramError, SimulatorError) as error:
            failed(f"{case.name} on {case.preset}: {error}")
    return found


def _run(case: Case, out: Path, console: Console) -> Figures:
    """One case; rooflines, the report and figures stay in its folder below ``out``."""
    folder, builds = out / case.name, out / BUILDS
    folder.mkdir(parents=True, exist_ok=True)
    model, images = out / case.model / "model.onnx", folder / "images.npz"
    if not model.exists():
        make_model(case, model, console)
    config, single = preset(case.preset), lower(import_model(model))
    if not images.exists():
        np.savez(images, images=example_images(image_shape(single), case.batch, seed=2))
    network = batched(single, case.batch)
    program = compile_network(network, config)
    profile = _profile(case, program, config, folder / f"profile-{case.preset}")
    digest = _digest(program)
    design = verilog_digest(config, builds / VERILOG_FOLDER)
    known = folder / f"outcome-{case.preset}.json"
    outcome = Outcome.load(known)
    if outcome and (outcome.program, outcome.design) == (digest, design) and outcome.is_equal:
        console.print("known: the same program gave equal values on the same design")
    else:
        report = simulate(
            model,
            images,
            batch=case.batch,
            preset_name=case.preset,
            out=builds,
            waves=False,
            console=console,
        )
        report.save(folder)
        outcome = Outcome.of_report(report, name=case.name, program=digest, design=design)
        outcome.save(known)
    figures = figures_of(outcome, network=network, program=program, config=config, profile=profile)
    figures.save(folder / f"figures-{case.preset}.json")
    return figures


def _digest(program: Program) -> str:
    """Hash of what the accelerator gets: not of names, which a release may change."""
    content = hashlib.sha256(f"{program.image_entry} {program.image_address}".encode())
    for stage in program.stages:
        content.update(f" {stage.entry} ".encode() + stage.memory.tobytes())
    content.update(program.memory.tobytes())
    return content.hexdigest()


def make_model(case: Case, model: Path, console: Console) -> None:
    """A calibrated model with seeded weights."""
    with console.status(f"making {case.name}"):
        network = calibrated_network(
            case.network, case.weights, case.activations, image_size=case.image_size
        )
        model.parent.mkdir(parents=True, exist_ok=True)
        unfinished = model.with_name(f"{model.name}.part")
        export_model(network, unfinished, calibration_images=example_images(network.image_shape))
        unfinished.replace(model)


def _profile(case: Case, program: Program, config: AcceleratorConfig, folder: Path) -> Profile:
    """The cycle model's profile; its report, roofline and pictures are drawn if it is new."""
    clock = Clock(mhz=config.clock_mhz, is_routed=False, source=f"preset {config.name}")
    profile = profile_program(program, config, model=case.name, clock=clock)
    report, last = folder / REPORT_FILE, folder / "roofline.png"
    if not (last.exists() and report.exists() and report.read_text() == profile.to_json()):
        last.unlink(missing_ok=True)
        profile.save(folder)
        write_text(folder / "roofline.md", roofline_markdown(profile))
        draw_profile(profile, folder / "profile.png")
        draw_roofline(profile, last)
    return profile


def known_figures(out: Path) -> list[Figures]:
    """Of all cases that have been run, by this call or an earlier one."""
    paths = (out / case.name / f"figures-{case.preset}.json" for case in CASES)
    return [figures for path in paths if (figures := load_figures(path))]


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUT,
    show_default=True,
    help="Folder for models, builds and results; what is there is not run again.",
)
@click.option("--list", "lists", is_flag=True, help="Print the cases and stop.")
def main(names: tuple[str, ...], out: Path, lists: bool) -> None:
    """Co-verify the networks of the LQ-Nets paper at their full size, SDRAM included.

    NAMES are cases such as resnet18-w2a2, or networks; without them all run, which takes hours.
    Weights are seeded, quantizers fitted to seeded images. A run that was interrupted goes on with
    the network at which it stopped. summary.md has a table of all networks; each network's folder
    has its profile and its roofline, as pictures and as a table.
    """
    console = Console()
    if lists:
        for case in CASES:
            console.print(f"{case.name:24} {case.preset}", highlight=False)
        return
    cases = [case for case in CASES if not names or case.name in names or case.network in names]
    unknown = set(names) - {case.name for case in CASES} - {case.network for case in CASES}
    if unknown:
        known = ", ".join(case.name for case in CASES)
        console.print(f"error: network must be one of {known}, not {min(unknown)}", markup=False)
        sys.exit(2)
    failures: list[str] = []
    found = run_cases(cases, out, console, failed=failures.append)
    console.print(figures_table(found))
    for figures in found:
        if figures.difference:
            console.print(f"{figures.name}: {figures.difference}", markup=False)
    for failure in failures:
        console.print(f"error: {failure}", markup=False)
    console.print(LEGEND, style="dim")
    summary = out / SUMMARY
    save_summary(known_figures(out), summary)
    console.print(f"written: {summary}; rooflines are in {out}/NETWORK/profile-PRESET")
    sys.exit(0 if not failures and all(figures.passed for figures in found) else 1)


if __name__ == "__main__":
    main()
