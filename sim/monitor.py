"""The Verilog around the accelerator in co-simulation: stable port names and a trace file.

The top of the simulated design is the module ``cosimulation``. It instantiates the generated
``simulation_top``, gives the host port fixed names, and writes one line per traced event to
``trace.log`` in the working folder of the simulator (:mod:`sim.trace` reads it). So the events
cost no Python at all while the design runs, and unknown values of a four-state simulator show up
as ``x`` digits in the file.

Lines have a fixed length per kind; numbers are hexadecimal, the cycle first::

    a CYCLE LAYER ACCUMULATORS             a vector of accumulators enters the post engine
    s CYCLE LAYER ADDRESS VECTOR           a vector is stored in the stream memory
    w CYCLE LAYER ENABLE ADDRESS WORD      granules of a word are stored in the activation memory
    r CYCLE ENGINE LAYER                   an engine has finished an instruction
    b CYCLE BUSY                           the accelerator starts or stops
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "INNER",
    "TOP",
    "TRACE_FILE",
    "MonitorError",
    "monitor",
    "read_ports",
    "start_always_blocks",
    "write_design",
]

TOP = "cosimulation"
INNER = "simulation_top"
TRACE_FILE = "trace.log"
CYCLE_WIDTH = 40

HOST_PORTS: Mapping[str, str] = {
    "clk": "clk",
    "rst": "rst",
    "request_valid": "request__valid",
    "request_ready": "request__ready",
    "request_operation": "request__operation",
    "request_address": "request__address",
    "request_data": "request__data",
    "response_valid": "response__valid",
    "response_ready": "response__ready",
    "response_data": "response__data",
    "busy": "busy",
}
"""Port of ``cosimulation`` to port of ``simulation_top``."""

SDRAM_PORT = "broken"
"""Port of both that designs with an SDRAM have: the rule of the part that was broken."""

ENGINES = ("dma", "fill", "compute", "post")
"""Engines in the order of ``hw.isa.Engine``; ports ``retired__<engine>__valid`` and ``__layer``."""

_PORT = re.compile(
    r"^\s*(input|output)\s+(?:wire\s+|reg\s+)?(?:signed\s+)?(?:\[(\d+):0\]\s*)?(\w+)\s*;",
    re.MULTILINE,
)

_TRIGGER = re.compile(
    r"^  reg (\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ ) = 0;$", re.MULTILINE
)
"""A register that all combinational blocks of a module read."""


class MonitorError(RuntimeError):
    """The generated Verilog lacks a port that co-simulation needs."""


def read_ports(verilog: str, module: str = INNER) -> dict[str, tuple[str, int]]:
    """Direction and width of every port of a module of Amaranth's Verilog."""
    found = re.search(rf"^module {module}\b.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise MonitorError(f"generated Verilog must have the module {module}")
    return {
        name: (direction, int(high or 0) + 1)
        for direction, high, name in _PORT.findall(found.group())
    }


def _outer_ports(ports: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """The ports of ``cosimulation`` for a ``simulation_top`` with ``ports``, and those of both."""
    return {**HOST_PORTS, **({SDRAM_PORT: SDRAM_PORT} if SDRAM_PORT in ports else {})}


def _declarations(ports: Mapping[str, tuple[str, int]]) -> list[str]:
    lines = []
    for outer, inner in _outer_ports(ports).items():
        direction, width = ports[inner]
        shape = f"[{width - 1}:0] " if width > 1 else ""  # cocotb wants scalars to be scalars
        lines.append(f"  {direction} wire {shape}{outer},")
    return [*lines, "  input wire dump"]


def _event(letter: str, condition: str, fields: list[str]) -> str:
    form = letter + "%h" * (len(fields) + 1)
    return f'    if ({condition}) $fwrite(log, "{form}\\n", {", ".join(["cycle", *fields])});'


def _events() -> list[str]:
    """Statements that write the trace, in the order in which a reader may rely on."""
    lines = [
        _event("a", "trace__accumulator_valid", ["trace__layer", "trace__accumulator"]),
        _event(
            "s", "trace__stream_valid", ["trace__layer", "trace__stream_address", "trace__stream"]
        ),
        _event(
            "w",
            "|trace__activation_enable",
            [
                "trace__layer",
                "trace__activation_enable",
                "trace__activation_address",
                "trace__activation",
            ],
        ),
    ]
    for number, engine in enumerate(ENGINES):
        valid, layer = f"retired__{engine}__valid", f"retired__{engine}__layer"
        lines.append(_event("r", valid, [f"4'd{number}", layer]))
    return lines


def monitor(verilog: str) -> str:
    """Verilog text of the module ``cosimulation`` for a generated ``simulation_top``.

    ``dump`` opens the waveform file at the first clock edge at which it is 1, in builds that
    define its name as ``WAVES``.
    """
    ports = read_ports(verilog)
    traced = [name for name in ports if name.startswith(("trace__", "retired__"))]
    needed = {*HOST_PORTS.values(), *re.findall(r"(?:trace|retired)__\w+", "\n".join(_events()))}
    missing = sorted(needed - ports.keys())
    if missing:
        raise MonitorError(f"{INNER} must have the ports {', '.join(missing)}")
    connections = [f"    .{inner}({outer})" for outer, inner in _outer_ports(ports).items()]
    connections += [f"    .{name}({name})" for name in traced]
    lines = [
        f"module {TOP}(",
        *_declarations(ports),
        ");",
        *(f"  wire [{ports[name][1] - 1}:0] {name};" for name in traced),
        f"  {INNER} dut(",
        ",\n".join(connections),
        "  );",
        f"  reg [{CYCLE_WIDTH - 1}:0] cycle = 0;",
        "  reg was_busy = 0;",
        "  integer log;",
        f'  initial log = $fopen("{TRACE_FILE}", "w");',
        "  always @(posedge clk) begin",
        "    cycle <= cycle + 1;",
        "    was_busy <= busy;",
        *_events(),
        "    if (busy != was_busy) begin",
        '      $fwrite(log, "b%h%h\\n", cycle, {3\'d0, busy});',
        "      $fflush(log);",
        "    end",
        "  end",
        "`ifdef WAVES",
        "  reg dumping = 0;",
        "  always @(posedge clk) if (dump && !dumping) begin",
        "    dumping <= 1;",
        "    $dumpfile(`WAVES);",
        f"    $dumpvars(0, {TOP});",
        "  end",
        "`endif",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def start_always_blocks(verilog: str) -> str:
    """Let each combinational block run at time 0 in an event-driven simulator.

    Such a block runs when something that it reads changes. If all that it reads keeps its initial
    value, its outputs would stay unknown: so the register that all blocks of a module read changes
    once, after the blocks have begun to wait.
    """
    return _TRIGGER.sub(lambda found: f"  reg {found[1]};\n  initial {found[1]} <= 0;", verilog)


def write_design(verilog: Path, folder: Path, *, event_driven: bool) -> list[Path]:
    """Write the sources of a simulation to ``folder``; the paths in compile order."""
    text = verilog.read_text()
    inner, outer, control = folder / "design.v", folder / "monitor.v", folder / "public.vlt"
    inner.write_text(start_always_blocks(text) if event_driven else text)
    outer.write_text(monitor(text))
    names = "\n".join(
        f'public_flat_rw -module "{TOP}" -var "{name}"'
        for name in (*_outer_ports(read_ports(text)), "dump")
    )
    control.write_text("`verilator_config\n" + names + "\n")
    return [inner, outer, control]
