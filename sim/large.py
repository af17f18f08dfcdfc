"""Networks of the paper in their full size on the RTL of the largest board: ``make sim-large``."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compiler.compile import compile_network
from compiler.program import Program, ProgramError
from golden.example_model import calibrated_network, example_images
from golden.export import export_model
from golden.graph import ModelError
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import preset

from .cosimulation import simulate
from .report import Report
from .simulator import SimulatorError
from .traffic import traffic_of

__all__ = ["CASES", "Case", "Outcome", "run_cases"]

OUT = Path("build") / "sim-large"
CYCLES_PER_WORD = 2
"""Of the SDRAM's 16 pins, at best."""


@dataclass(frozen=True)
class Case:
    """One network on one preset."""

    network: str
    weights: int
    activations: int
    preset: str = "ulx3s-85f-sdram"
    image_size: int | None = None
    """None: the network's own."""

    @property
    def name(self) -> str:
        size = "" if self.image_size is None else f"-{self.image_size}"
        return f"{self.network}{size}-w{self.weights}a{self.activations}"


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
)
"""In the order in which they run: the quick ones first."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was found of one case."""

    name: str
    preset: str
    program: str
    """Hash of the program: another one is run again."""
    passed: bool
    cycles: int
    images_per_second: float
    """At the clock that the preset asks for."""
    array: float
    """Cycles of a full array for all binary multiply-accumulates, as a share."""
    words: int
    """Over the port of the external memory."""
    least_words: int
    bound: float
    """Cycles for each that array or memory, whichever is slower, would take at best."""
    seconds: float
    """Wall time of the simulation."""
    simulated_cycles_per_second: float
    moved: dict[str, int]

    @property
    def traffic(self) -> float:
        return self.words / self.least_words


def run_cases(
    cases: Sequence[Case], out: Path, console: Console, *, failed: Callable[[str], None]
) -> list[Outcome]:
    """Run what has not been run with the same program; results stay in ``out``.

    ``failed`` hears of the cases that cannot be run, and why; the others go on.
    """
    outcomes = []
    for number, case in enumerate(cases, 1):
        console.rule(f"{case.name} on {case.preset} ({number} of {len(cases)})")
        try:
            outcomes.append(_run(case, out / case.name, out / "builds", console))
        except (ModelError, ProgramError, SimulatorError) as error:
            failed(f"{case.name} on {case.preset}: {error}")
    return outcomes


def _run(case: Case, folder: Path, builds: Path, console: Console) -> Outcome:
    """One case; the model, the images, the report and the outcome stay in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model, images = folder / "model.onnx", folder / "images.npz"
    if not images.exists():
        _make_model(case, model, images, console)
    network = lower(import_model(model))
    program = compile_network(network, preset(case.preset))
    digest = hashlib.sha256(program.to_bytes()).hexdigest()
    known = folder / f"outcome-{case.preset}.json"
    if known.exists():
        outcome = Outcome(**json.loads(known.read_text()))
        if outcome.program == digest and outcome.passed:
            console.print("known: the same program has passed")
            return outcome
    result = simulate(
        model, images, preset_name=case.preset, out=builds, waves=False, console=console
    )
    result.save(folder)
    outcome = _outcome(case, network, program, digest, result)
    partial = known.with_suffix(".part")
    partial.write_text(json.dumps(asdict(outcome), indent=1) + "\n")
    partial.replace(known)
    return outcome


def _make_model(case: Case, model: Path, images: Path, console: Console) -> None:
    """A calibrated model with seeded weights, and one image like those that calibrated it."""
    import numpy as np

    with console.status(f"making {case.name}"):
        network = calibrated_network(
            case.network, case.weights, case.activations, image_size=case.image_size
        )
        export_model(network, model, calibration_images=example_images(network.image_shape))
        np.savez(images, images=example_images(network.image_shape, 1, seed=2))


def _outcome(
    case: Case,
    network: IntegerNetwork,
    program: Program,
    digest: str,
    result: Report,
) -> Outcome:
    config, cycles = preset(case.preset), result.cycles_per_image
    traffic = traffic_of(program, network, config)
    ideal = sum(layer.binary_macs for layer in program.layers) / config.array.binary_macs_per_cycle
    best = max(ideal, CYCLES_PER_WORD * traffic.least)
    return Outcome(
        name=case.name,
        preset=case.preset,
        program=digest,
        passed=result.passed,
        cycles=cycles,
        images_per_second=config.clock_mhz * 1e6 / cycles if cycles else 0.0,
        array=ideal / cycles if cycles else 0.0,
        words=traffic.total,
        least_words=traffic.least,
        bound=cycles / best,
        seconds=result.seconds.get("simulate", 0.0),
        simulated_cycles_per_second=result.simulated_cycles_per_second,
        moved=traffic.moved,
    )


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One line for each case."""
    table = Table(
        *("network", "preset", "values", "cycles", "images/s", "array", "words", "of least"),
        *("of bound", "simulated"),
        box=None,
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for entry in outcomes:
        table.add_row(
            entry.name,
            entry.preset,
            "equal" if entry.passed else "[red]DIFFER[/]",
            f"{entry.cycles:,}",
            f"{entry.images_per_second:.2f}",
            f"{entry.array:.1%}",
            f"{entry.words:,}",
            f"{entry.traffic:.2f}",
            f"{entry.bound:.2f}",
            f"{entry.seconds:.0f} s",
        )
    return table


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
    the network at which it stopped.
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
    outcomes = run_cases(cases, out, console, failed=failures.append)
    console.print(outcome_table(outcomes))
    for failure in failures:
        console.print(f"error: {failure}", markup=False)
    console.print(
        "array: of the cycles, those that a full array needs; of least: words moved, weights and "
        "outside tensors once being 1;\nof bound: cycles, the slower one of array and memory at "
        "their best being 1",
        style="dim",
    )
    sys.exit(0 if not failures and all(outcome.passed for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
