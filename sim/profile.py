"""The profile of a model: where the cycles of each layer go, from the cycle model alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from compiler.program import LayerInfo, Program
from hw.config import AcceleratorConfig
from hw.isa import INSTRUCTION_WIDTH, Engine, Opcode
from hw.memory.packing import WORD, entry_formats
from hw.memory.sdram_part import DATA_BITS

from .attribution import MEANINGS, attribute
from .cycles.model import Run, run_program
from .report import Report

__all__ = [
    "REPORT_FILE",
    "Clock",
    "LayerProfile",
    "Profile",
    "ProfileError",
    "RtlRun",
    "profile_program",
]

REPORT_FILE = "report.json"
WORD_BYTES = WORD // 8


class ProfileError(ValueError):
    """A program without anything to profile."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock, and what says that it is the board's."""

    mhz: float
    is_routed: bool
    """Reached by a placed and routed design, and not only asked for."""
    source: str
    """Preset, file or model."""
    is_predicted: bool = False
    """By a model fitted on routed designs."""

    @property
    def kind(self) -> str:
        """What the clock is, for a reader."""
        if self.is_predicted:
            return "predicted"
        return "routed" if self.is_routed else "asked for, not routed"


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """Where one layer's cycles go; ``report.json`` has these keys."""

    name: str
    shape: tuple[int, int, int]
    """Height, width, channels of the output."""
    widths: str
    """Weight and activation bits: "W2 A2"."""
    cycles: int
    """From the end of the layer before to its own end."""
    binary_macs: int
    utilization: float
    """Binary MACs, as a share of what the array can do in the cycles. Of work that was done before
    the layer before ended, the cycles are that layer's: so it can be more than 1."""
    causes: dict[str, int]
    """Cycles by :class:`sim.attribution.Cause`; they add up to ``cycles``."""
    limit: str
    """The cause of most cycles."""
    semaphore_waits: dict[str, int]
    """Cycles without a command in which COMPUTE waited for a semaphore, by its name."""
    external_bytes: int
    """What the layer's DMA instructions move over the external memory port."""
    instruction_bytes: int
    """The layer's instructions, which come over the same port."""

    @property
    def array_share(self) -> float:
        """Share of the cycles in which a word enters the array."""
        return self.causes["array"] / self.cycles if self.cycles else 0.0


@dataclass(frozen=True, kw_only=True)
class RtlRun:
    """What a simulation of the RTL measured, to stand beside the cycle model's figures."""

    simulator: str
    images: int
    cycles: int
    """Of a run."""
    layer_cycles: list[int]
    counters: dict[str, int]
    difference: str | None
    """Where it differs from the cycle model, or why it did not pass."""

    @staticmethod
    def of_report(report: Report) -> RtlRun:
        """The figures of a co-simulation."""
        wrong = report.error or report.cycle_difference or report.mismatch
        if wrong is None and not report.passed:
            wrong = "co-simulation must pass"
        return RtlRun(
            simulator=report.simulator,
            images=report.images,
            cycles=report.cycles,
            layer_cycles=[layer.cycles for layer in report.layers],
            counters=report.counters,
            difference=wrong,
        )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that ``report.json`` holds."""

    model: str
    preset: str
    binary_macs_per_cycle: int
    """Of the array at full occupancy."""
    port_bytes_per_cycle: int
    """Of the external memory port at most."""
    clock: Clock
    cycles: int
    """Of a run: an image, or a batch of them."""
    images_per_second: float
    """Of the accelerator alone: the transfer of images takes its own time."""
    utilization: float
    causes: dict[str, int]
    limit: str
    counters: dict[str, int]
    """The accelerator's performance counters, by lower-case name."""
    layers: list[LayerProfile]
    rtl: RtlRun | None = None
    batch: int = 1
    """Images of a run."""

    @property
    def array_share(self) -> float:
        """Share of the cycles in which a word enters the array."""
        return self.causes["array"] / self.cycles

    @property
    def cycles_per_image(self) -> int:
        return round(self.cycles / self.batch)

    def to_json(self) -> str:
        content = asdict(self) | {"cycles_per_image": self.cycles_per_image}
        return json.dumps(content, indent=1) + "\n"

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` in one step; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / REPORT_FILE
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        temporary.write_text(self.to_json())
        temporary.replace(path)
        return path


def profile_program(
    program: Program, config: AcceleratorConfig, *, model: str, clock: Clock
) -> Profile:
    """Profile a run of the program: an image or a batch. All images take the same cycles.

    Raises:
        ProfileError: The program has no layers.
        CycleError: The program would not end.
    """
    if not program.layers:
        raise ProfileError(f"model {model} must have a layer that the accelerator runs")
    run = run_program(program, config)
    tags = [info.tag for info in program.layers]
    attribution = attribute(run, config, tags)
    capacity = config.array.binary_macs_per_cycle
    external = _external_bytes(run, config)
    instructions = _instruction_bytes(run)
    layers = [
        _layer(
            info,
            cycles,
            {cause.value: causes[cause] for cause in MEANINGS},
            capacity=capacity,
            semaphore_waits={
                semaphore.name.lower(): waited for semaphore, waited in sorted(semaphores.items())
            },
            external_bytes=external[info.tag],
            instruction_bytes=instructions[info.tag],
        )
        for info, cycles, causes, semaphores in zip(
            program.layers,
            run.layer_cycles(tags),
            attribution.causes,
            attribution.semaphores,
            strict=True,
        )
    ]
    totals = {cause.value: sum(layer.causes[cause] for layer in layers) for cause in MEANINGS}
    return Profile(
        model=model,
        preset=config.name,
        binary_macs_per_cycle=capacity,
        port_bytes_per_cycle=_port_bytes(config),
        clock=clock,
        cycles=run.cycles,
        images_per_second=clock.mhz * 1e6 * program.images / run.cycles,
        utilization=sum(layer.binary_macs for layer in layers) / (run.cycles * capacity),
        causes=totals,
        limit=_largest(totals),
        counters={counter.name.lower(): value for counter, value in run.counters.items()},
        layers=layers,
        batch=program.images,
    )


def _layer(
    info: LayerInfo,
    cycles: int,
    causes: dict[str, int],
    *,
    capacity: int,
    semaphore_waits: dict[str, int],
    external_bytes: int,
    instruction_bytes: int,
) -> LayerProfile:
    return LayerProfile(
        name=info.name,
        shape=info.output_shape,
        widths=f"{info.weight_label} {info.source_label}".strip(),
        cycles=cycles,
        binary_macs=info.binary_macs,
        utilization=info.binary_macs / (cycles * capacity) if cycles else 0.0,
        causes=causes,
        limit=_largest(causes),
        semaphore_waits=semaphore_waits,
        external_bytes=external_bytes,
        instruction_bytes=instruction_bytes,
    )


def _largest(causes: dict[str, int]) -> str:
    """The cause of most cycles, the first one of equals."""
    return max(causes, key=lambda cause: causes[cause])


def _port_bytes(config: AcceleratorConfig) -> int:
    """Bytes per cycle that the external memory moves at most."""
    return WORD_BYTES if config.sdram is None else DATA_BITS // 8


def _external_bytes(run: Run, config: AcceleratorConfig) -> Counter[int]:
    """Bytes that DMA instructions move, by tag of the layer."""
    formats = {target.value: form for target, form in entry_formats(config).items()}
    moved: Counter[int] = Counter()
    for wait in run.waits[Engine.DMA]:
        instruction = wait.instruction
        if instruction.opcode is Opcode.DMA:
            form = formats[instruction["target"]]
            runs = (instruction["runs"] + 1) * (instruction["rows"] + 1)
            moved[instruction.layer] += runs * form.words_of(instruction["count"]) * WORD_BYTES
    return moved


def _instruction_bytes(run: Run) -> Counter[int]:
    """Bytes of the instructions in the queues, by tag of the layer."""
    moved: Counter[int] = Counter()
    for waits in run.waits.values():
        for wait in waits:
            moved[wait.instruction.layer] += INSTRUCTION_WIDTH // 8
    return moved
