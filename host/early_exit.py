"""Early exit of a model's last layer, measured: the images that stop, and the cycles they save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.table import Table

from compiler.compile import compile_network
from compiler.early_exit import ExitPlan, certified, exit_plan, part_of
from compiler.exit_program import compile_exits
from compiler.program import ProgramError
from golden.integer_network import IntegerNetwork
from golden.integer_reference import IntegerReference, logits_name
from host.labelled_images import LabelledImages
from hw.config import AcceleratorConfig
from sim.cycles.model import run_program

__all__ = ["CertificateError", "EarlyExit", "ExitStep", "exit_table", "measure_exits"]

BATCH = 100


class CertificateError(Exception):
    """A certified class was not that of the full run: the bounds are wrong."""


@dataclass(frozen=True)
class ExitStep:
    """The state after some of the groups; shares are in 0..1."""

    groups: int
    pairs: int
    """Plane pairs of the groups so far."""
    stopped: float
    """Share of images that have stopped, here or before."""
    agreement: float
    """Share of images whose class is final already, certified or not."""
    cycles: int
    """Of an image that stops here."""
    host_cycles: float | None
    """Mean of an image if the host looks here, and only here: it runs the rest if it must. None
    after the last group."""


@dataclass(frozen=True)
class EarlyExit:
    """All steps of a model on one configuration."""

    model: str
    preset: str
    images: int
    full_cycles: int
    """Of an image without early exit."""
    last_layer_cycles: int
    """Of these, after the end of the layer before the last."""
    mean_cycles: float
    """Of an image that stops as soon as its class is certified, if finding out took no time."""
    accuracy: float
    """The same with and without early exit."""
    steps: tuple[ExitStep, ...]

    @property
    def best_cut(self) -> int:
        """Groups after which a host that looks once should look."""
        means = [step.host_cycles for step in self.steps if step.host_cycles is not None]
        if not means:
            raise ProgramError("a last layer of one group has no early exit")
        return 1 + means.index(min(means))

    def to_json(self) -> dict[str, object]:
        """Plain values for a report."""
        return asdict(self)


def measure_exits(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    images: LabelledImages,
    *,
    model: str,
    progress: Callable[[int], object] = lambda done: None,
) -> EarlyExit:
    """Stop each image where its class is certified, and compare with the full run.

    Raises:
        CertificateError: A certified class is not the class of all groups.
    """
    plan = exit_plan(network)
    codes, scores = _inputs(network, plan, images.pixels, progress)
    classes = scores.argmax(axis=1)
    stopped = np.zeros(len(classes), bool)
    cycles = np.zeros(len(classes), np.int64)
    steps: list[ExitStep] = []
    for done, bounds in enumerate(plan.bounds, 1):
        partial = plan.scores(codes, done)
        safe = certified(partial, bounds)
        wrong = np.flatnonzero(safe & (partial.argmax(axis=1) != classes))
        if len(wrong):
            raise CertificateError(
                f"image {wrong[0]} must have class {classes[wrong[0]]}, but class "
                f"{partial[wrong[0]].argmax()} was certified after {done} groups"
            )
        taken = _cycles(part_of(network, plan.groups[:done]), config)
        stays = float((~safe).mean())
        cycles[safe & ~stopped] = taken
        stopped |= safe
        steps.append(
            ExitStep(
                groups=done,
                pairs=sum(len(group.pairs) for group in plan.groups[:done]),
                stopped=float(stopped.mean()),
                agreement=float((partial.argmax(axis=1) == classes).mean()),
                cycles=taken,
                host_cycles=_host_cycles(network, plan, done, stays, config),
            )
        )
    program = compile_network(network, config)
    run = run_program(program, config)
    layers = run.layer_cycles(layer.tag for layer in program.layers)
    return EarlyExit(
        model=model,
        preset=config.name,
        images=len(classes),
        full_cycles=run.cycles,
        last_layer_cycles=layers[-1],
        mean_cycles=float(cycles.mean()),
        accuracy=float((classes == images.labels).mean()),
        steps=tuple(steps),
    )


def exit_table(result: EarlyExit) -> Table:
    """The steps as a table for the terminal."""
    saved = 1 - result.mean_cycles / result.full_cycles
    table = Table(
        "groups",
        "plane pairs",
        "stopped",
        "class is final",
        "cycles if stopped",
        "mean if the host looks here",
        title=f"{result.model} on {result.preset}, {result.images:,} images",
        caption=(
            f"full run {result.full_cycles:,} cycles, of these the last layer "
            f"{result.last_layer_cycles:,}; mean if each image stopped at once "
            f"{result.mean_cycles:,.1f}, {saved:.2%} less; every class that of the full run, "
            f"accuracy {result.accuracy:.2%}"
        ),
    )
    for column in table.columns:
        column.justify = "right"
    for step in result.steps:
        table.add_row(
            str(step.groups),
            str(step.pairs),
            f"{step.stopped:.2%}",
            f"{step.agreement:.2%}",
            f"{step.cycles:,}",
            "" if step.host_cycles is None else f"{step.host_cycles:,.1f}",
        )
    return table


def _host_cycles(
    network: IntegerNetwork, plan: ExitPlan, done: int, stays: float, config: AcceleratorConfig
) -> float | None:
    """Mean cycles of two runs, of which the share ``stays`` of images needs the second."""
    if done == len(plan.groups):
        return None
    program = compile_exits(network, (done,), config, plan=plan)
    first, rest = (
        run_program(replace(program, image_entry=part.image_entry), config).cycles
        for part in program.exits
    )
    return first + stays * rest


def _cycles(network: IntegerNetwork, config: AcceleratorConfig) -> int:
    return run_program(compile_network(network, config), config).cycles


def _inputs(
    network: IntegerNetwork,
    plan: ExitPlan,
    pixels: np.ndarray,
    progress: Callable[[int], object],
) -> tuple[np.ndarray, np.ndarray]:
    """The last layer's input codes [N, h, w, channels] and the full scores [N, classes]."""
    reference, name = IntegerReference(network), logits_name(network)
    codes, scores = [], []
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        tensors = reference.run(batch, keep=(plan.layer.source, name))
        codes.append(tensors[plan.layer.source])
        scores.append(tensors[name].reshape(len(batch), -1))
        progress(len(batch))
    return np.concatenate(codes), np.concatenate(scores)
