"""The profile: figures per layer, the report's file, and the tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from compiler.compile import compile_model
from compiler.program import Program
from hw.config import preset
from hw.isa import INSTRUCTION_WORDS, DmaTarget, Engine, Opcode, decode
from hw.memory.packing import entry_formats
from sim.cycles.model import run_program
from sim.profile import (
    Clock,
    LayerProfile,
    Profile,
    ProfileError,
    RtlRun,
    profile_program,
)
from sim.profile_tables import print_profile
from sim.report import LayerReport, Report

CONFIG = preset("ulx3s-85f")
MACS = CONFIG.array.binary_macs_per_cycle
CLOCK = Clock(mhz=40.0, is_routed=False, source="preset ulx3s-85f")
NAME = "resnet20-cifar10-w2a2"


@cache
def program() -> Program:
    return compile_model(Path(f"models/{NAME}.onnx"), CONFIG)


@cache
def profile() -> Profile:
    return profile_program(program(), CONFIG, model=NAME, clock=CLOCK)


def text_of(content: Profile, width: int = 160) -> str:
    text = io.StringIO()
    print_profile(content, Console(file=text, width=width))
    return text.getvalue()


def measured(content: Profile, **changes: object) -> Report:
    """A co-simulation that found what the profile says, but for ``changes``."""
    layers = [
        LayerReport(
            name=layer.name,
            shape=layer.shape,
            widths=layer.widths,
            cycles=layer.cycles,
            utilization=layer.utilization,
            values_compared=1,
            values_mismatched=0,
        )
        for layer in content.layers
    ]
    report = Report(
        model=content.model,
        preset=content.preset,
        simulator="verilator",
        images=2,
        values_compared=1,
        values_mismatched=0,
        cycles=content.cycles,
        clock_mhz=40.0,
        utilization=content.utilization,
        simulated_cycles_per_second=1.0,
        labels=[None],
        predictions_rtl=[0],
        predictions_golden=[0],
        class_names=[],
        counters=dict(content.counters),
        layers=layers,
        logits_mismatched=0,
    )
    return replace(report, **changes)


def image_instructions() -> list[tuple[Opcode, dict[str, int]]]:
    """The instructions that classify an image, without END."""
    memory, address = program().memory, program().image_entry
    result = []
    while True:
        words = memory[address : address + INSTRUCTION_WORDS]
        opcode, fields = decode(int.from_bytes(words.astype("<u4").tobytes(), "little"))
        if opcode is Opcode.END:
            return result
        result.append((opcode, fields))
        address += INSTRUCTION_WORDS


def test_layers_are_those_of_the_program_with_the_cycles_of_the_model() -> None:
    run = run_program(program(), CONFIG)
    assert [layer.name for layer in profile().layers] == [info.name for info in program().layers]
    cycles = [layer.cycles for layer in profile().layers]
    assert cycles == run.layer_cycles([info.tag for info in program().layers])
    assert profile().cycles_per_image == sum(cycles) == run.cycles
    for layer in profile().layers:
        assert sum(layer.causes.values()) == layer.cycles
        assert layer.causes[layer.limit] == max(layer.causes.values())


def test_utilization_is_of_the_macs_and_array_share_of_the_cycles() -> None:
    layer, info = profile().layers[0], program().layers[0]
    assert layer.utilization == info.binary_macs / (layer.cycles * MACS)
    assert layer.array_share == layer.causes["array"] / layer.cycles
    macs = sum(info.binary_macs for info in program().layers)
    assert profile().utilization == macs / (profile().cycles_per_image * MACS)


def test_speed_follows_the_clock() -> None:
    routed = Clock(mhz=55.9, is_routed=True, source="report.json")
    faster = profile_program(program(), CONFIG, model=NAME, clock=routed)
    assert faster.images_per_second == 55.9e6 / profile().cycles_per_image
    assert "at 55.9 MHz (routed: report.json)" in text_of(faster)
    assert "at 40 MHz (asked for, not routed: preset ulx3s-85f)" in text_of(profile())


def test_bytes_are_those_of_the_instructions() -> None:
    formats = entry_formats(CONFIG)
    instructions = image_instructions()
    for layer, info in zip(profile().layers, program().layers, strict=True):
        moved = sum(
            4 * formats[DmaTarget(fields["target"])].words_of(fields["count"])
            for opcode, fields in instructions
            if opcode is Opcode.DMA and fields["layer"] == info.tag
        )
        assert layer.external_bytes == moved
        own = sum(fields["layer"] == info.tag for _, fields in instructions)
        assert layer.instruction_bytes == 32 * own
    assert profile().layers[0].external_bytes == 4 * 32 * 32
    assert {layer.external_bytes for layer in profile().layers[1:-1]} == {0}


def test_semaphore_waits_have_the_names_of_the_instruction_set() -> None:
    waits = [layer.semaphore_waits for layer in profile().layers]
    assert {name for layer in waits for name in layer} <= {"filled_0", "filled_1", "loaded"}
    assert sum(sum(layer.values()) for layer in waits) <= sum(
        wait.last - wait.first + 1 for wait in run_program(program(), CONFIG).waits[Engine.COMPUTE]
    )


def test_program_without_layers_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"^model empty must have a layer"):
        profile_program(replace(program(), layers=()), CONFIG, model="empty", clock=CLOCK)


def test_file_holds_the_table(tmp_path: Path) -> None:
    path = profile().save(tmp_path / "new" / "folder")
    saved = json.loads(path.read_text())
    assert [path.name for path in path.parent.iterdir()] == ["report.json"]
    assert saved["cycles_per_image"] == profile().cycles_per_image
    assert saved["clock"] == {
        "mhz": 40.0,
        "is_routed": False,
        "source": "preset ulx3s-85f",
        "is_predicted": False,
    }
    layers = [LayerProfile(**layer | {"shape": tuple(layer["shape"])}) for layer in saved["layers"]]
    assert layers == profile().layers
    assert saved["rtl"] is None


def test_table_names_what_takes_the_cycles_of_every_layer() -> None:
    lines = [line for line in text_of(profile()).splitlines() if line.strip()]
    rows = {line.split()[0]: line for line in lines}
    for layer in profile().layers:
        row = rows[layer.name]
        for cause, cycles in layer.causes.items():
            if cycles and cause != "array":
                assert f"{cause} {cycles:,}" in row
        assert f"{layer.cycles:,}" in row
        assert f"{layer.utilization:.1%}" in row
    assert f"{profile().cycles_per_image:,}" in rows["total"]
    assert "a word waits: the pass before is still drained" in rows["drain"]


def test_narrow_terminals_get_every_figure() -> None:
    text = text_of(profile(), width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert f"{profile().layers[0].cycles:,}" in text
    assert "…" not in text


def test_long_names_leave_room_for_numbers() -> None:
    plain = profile()
    name = "norm_last.bn" + 8 * ".part1" + ".identity"
    layers = (replace(plain.layers[0], name=name), *plain.layers[1:])
    text = text_of(replace(plain, layers=layers), width=80)
    row = next(line for line in text.splitlines() if line.strip().startswith("norm_last.bn.part1"))
    assert f"{plain.layers[0].cycles:,}" in row
    assert f"{plain.layers[0].utilization:.1%}" in row


def test_equal_rtl_stands_beside_the_model() -> None:
    rtl = RtlRun.of_report(measured(profile()))
    assert rtl.difference is None
    text = text_of(replace(profile(), rtl=rtl))
    rows = [line.split() for line in text.splitlines() if line.strip()]
    for layer in profile().layers:
        cycles = f"{layer.cycles:,}"
        assert [layer.name, cycles, cycles] in [row[:3] for row in rows]
    for name, count in profile().counters.items():
        assert [name, f"{count:,}", f"{count:,}"] in rows
    assert "EQUAL: cycles of all layers and all counters, 2 image(s), verilator" in text


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"cycle_difference": "image 0: counter TOTAL was 1, not 2"}, "counter TOTAL was 1"),
        ({"error": "image 1: run must end"}, "image 1: run must end"),
        ({"mismatch": "image 0, layer x", "values_mismatched": 3}, "image 0, layer x"),
        ({"images": 0}, "co-simulation must pass"),
    ],
)
def test_whatever_differs_on_the_rtl_is_told(changes: dict[str, object], difference: str) -> None:
    rtl = RtlRun.of_report(measured(profile(), **changes))
    assert rtl.difference is not None
    assert difference in rtl.difference
    assert f"DIFFERS: {rtl.difference}" in text_of(replace(profile(), rtl=rtl))
