import hashlib
import io
import json
import os
import stat
import sys
import textwrap

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from PIL import Image
from rich.console import Console

from host.bitstream import TimingError, build
from host.bitstream_report import (
    CHIP_MODULE,
    CellPlace,
    ModuleUse,
    module_of,
    module_paths,
    module_uses,
    placed_cells,
    read_statistics,
    read_timing,
    read_utilization,
)
from host.build_hash import build_hash
from host.floorplan import draw_floorplan
from host.spacers import COLUMNS, SPACER, SPACER_ROWS
from host.tools import FIRST_USE, ToolError
from hw.board.ulx3s import LEDS, board
from hw.config import ConfigError, preset

STATISTICS = {"design": {"num_cells_by_type": {"LUT4": 10, "CCU2C": 4, "DP16KD": 2, "x": 9}}}
REPORT_KEYS = {
    "board",
    "device",
    "preset",
    "binary_macs_per_cycle",
    "clock_target_mhz",
    "clock_reached_mhz",
    "lut4",
    "ff",
    "bram",
    "multipliers",
    "modules",
    "bitstream",
    "bitstream_bytes",
    "seconds",
}
PATHS = frozenset({"core", "core.link", "core.accelerator", "core.accelerator.array", "pll"})
LATTICE_HEADER = b"\xff\x00Part: LFE5U-12F-6CABGA381\x00"


def step(kind, delay, start, end):
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


def timing_report(mhz=62.5, target=50.0):
    return {
        "fmax": {
            "clk": {"achieved": mhz, "constraint": target},
            "slow": {"achieved": 90.0, "constraint": 25.0},
        },
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": [step("logic", 99.0, "x", "y")]},
            {
                "from": "posedge clk",
                "to": "posedge clk",
                "path": [
                    step("clk-to-q", 0.5, "core.a", "core.a"),
                    step("routing", 4.25, "core.a", "core.b"),
                    step("logic", 0.25, "core.b", "core.b"),
                    step("routing", 2.0, "core.b", "core.c"),
                    step("setup", 0.0, "core.c", "core.c"),
                ],
            },
        ],
        "utilization": {
            "TRELLIS_COMB": {"used": 3, "available": 24288},
            "TRELLIS_FF": {"used": 1, "available": 24288},
            "DP16KD": {"used": 1, "available": 56},
            "MULT18X18D": {"used": 0, "available": 28},
        },
    }


def placed_netlist():
    def cell(kind, bel):
        return {"type": kind, "attributes": {"NEXTPNR_BEL": bel} if bel else {}}

    return {
        "modules": {
            "top": {
                "cells": {
                    "core.accelerator.array.sum_LUT4_Z": cell("TRELLIS_COMB", "X4/Y5/SLICEA.LUT0"),
                    "core.accelerator.array.pe.q": cell("TRELLIS_FF", "X4/Y5/SLICEA.FF0"),
                    "core.link.rx_LUT4_Z": cell("TRELLIS_COMB", "X9/Y7/SLICEB.LUT1"),
                    "core.accelerator.memory": cell("DP16KD", "X20/Y13/EBR0"),
                    "pll.x": cell("TRELLIS_COMB", "X2/Y3/SLICEC.LUT0"),
                    "unplaced": cell("TRELLIS_COMB", ""),
                }
            }
        }
    }


class Counter(wiring.Component):
    """Stand-in for the accelerator that places and routes in seconds."""

    rx: In(1)
    tx: Out(1)
    leds: Out(LEDS)

    def elaborate(self, platform):
        m = Module()
        state = Signal(32)
        m.d.sync += [
            state.eq(state * 3 + self.rx),
            self.tx.eq(state[5]),
            self.leds.eq(state[-LEDS:]),
        ]
        return m


def small_core(config, hash_):
    return Counter()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=False, width=200)


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """Programs in place of yosys, nextpnr and ecppack that write small results at once."""
    prelude = f"""\
        #!{sys.executable}
        import json, sys
        arguments = sys.argv[1:]
        def value(option):
            return arguments[arguments.index(option) + 1]
        """
    scripts = {
        "YOSYS": f"""\
            print("1. Executing SYNTH_ECP5 pass.")
            json.dump({STATISTICS!r}, open("yosys.stat.json", "w"))
            json.dump({{"modules": {{"top": {{"cells": {{}}}}}}}}, open("top.json", "w"))
            """,
        "NEXTPNR_ECP5": f"""\
            print("Preparing to run nextpnr. This might take a while...")
            seed = int(value("--seed"))
            report = {timing_report()!r}
            report["fmax"]["clk"]["achieved"] = 50.0 + [1, 9, 4][seed % 3]
            json.dump(report, open(value("--report"), "w"))
            json.dump({placed_netlist()!r}, open(value("--write"), "w"))
            open(value("--textcfg"), "w").write(f"seed {{seed}}")
            """,
        "ECPPACK": f"""\
            text = open(value("--input"), "rb").read()
            open(value("--bit"), "wb").write({LATTICE_HEADER!r} + text)
            """,
    }
    for variable, body in scripts.items():
        path = tmp_path / variable.lower()
        path.write_text(textwrap.dedent(prelude) + textwrap.dedent(body))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(variable, str(path))
    return tmp_path


def test_timing_is_that_of_the_clock_with_least_margin():
    timing = read_timing(timing_report())
    assert (timing.reached_mhz, timing.target_mhz, timing.met) == (62.5, 50.0, True)
    assert (timing.path_start, timing.path_end) == ("core.a", "core.c")
    assert (timing.routing_ns, timing.logic_ns, timing.levels) == (6.25, 0.75, 1)


def test_timing_of_a_design_without_clock_is_refused():
    with pytest.raises(ValueError, match="^timing report must have a clock"):
        read_timing({"fmax": {}, "critical_paths": []})


def test_utilization_has_percentages():
    use = read_utilization(timing_report())
    assert use["DP16KD"].percent == pytest.approx(100 / 56)
    assert use["MULT18X18D"].used == 0


def test_statistics_count_carry_cells_twice():
    needs = {"LUT4": 18, "FF": 0, "block RAM": 2, "multiplier": 0}
    assert read_statistics(STATISTICS) == needs


def test_module_paths_come_from_the_module_lines():
    text = "module \\top\nend\nmodule \\top.core\nend\n  module \\top.no\nmodule \\top.core.link\n"
    assert module_paths(text) == {"core", "core.link"}


@pytest.mark.parametrize(
    ("cell", "module"),
    [
        ("core.accelerator.array.pe0.count_TRELLIS_FF_Q", "accelerator.array"),
        ("core.accelerator.state", "accelerator"),
        ("core.link.bridge.x", "link"),
        ("core.leds", "core"),
        ("core.payload.valid", "core"),
        ("$gbuf$core.link.clk", "link"),
        ("pll.primitive", CHIP_MODULE),
        ("$PACKER_GND", CHIP_MODULE),
    ],
)
def test_cells_belong_to_the_module_in_their_path(cell, module):
    assert module_of(cell, PATHS) == module


def test_module_uses_count_placed_cells():
    uses = module_uses(placed_cells(placed_netlist()), PATHS)
    assert uses == [
        ModuleUse("accelerator.array", lut4=1, ff=1, bram=0, multipliers=0),
        ModuleUse("link", lut4=1, ff=0, bram=0, multipliers=0),
        ModuleUse(CHIP_MODULE, lut4=1, ff=0, bram=0, multipliers=0),
        ModuleUse("accelerator", lut4=0, ff=0, bram=1, multipliers=0),
    ]


def test_floorplan_has_colours_where_cells_are(tmp_path):
    cells = [CellPlace(f"core.link.n{i}", "TRELLIS_COMB", 10, 20) for i in range(8)]
    cells += [CellPlace(f"core.accelerator.array.n{i}", "TRELLIS_FF", 30, 20) for i in range(8)]
    cells += [CellPlace("core.accelerator.memory", "DP16KD", 40, 10)]
    pictures = []
    for shown in (cells, []):
        path = tmp_path / "floorplan.png"
        draw_floorplan(path, shown, PATHS, device="LFE5U-12F", title="test")
        pictures.append(np.asarray(Image.open(path).convert("RGB"), int))
    full, empty = pictures

    def coloured(picture):
        return int((picture.max(axis=2) - picture.min(axis=2) > 40).sum())

    assert coloured(full) > coloured(empty) + 200


def test_build_publishes_the_fastest_seed(fake_tools, console, tmp_path):
    out = tmp_path / "out"
    report = build("ulx3s-12f", "tiny", out=out, seed=3, seeds=3, core=small_core, console=console)
    assert sorted(path.name for path in out.iterdir()) == [
        "floorplan.png",
        "report.json",
        "report.txt",
        "ulx3s-12f.bit",
        "work",
    ]
    assert (out / "ulx3s-12f.bit").read_bytes() == LATTICE_HEADER + b"seed 4"
    assert report.seeds == {3: 51.0, 4: 59.0, 5: 54.0}
    saved = json.loads((out / "report.json").read_text())
    assert saved.keys() >= REPORT_KEYS
    assert (saved["seed"], saved["clock_reached_mhz"], saved["lut4"]) == (4, 59.0, 3)
    assert saved["bitstream_sha256"] == hashlib.sha256(LATTICE_HEADER + b"seed 4").hexdigest()
    text = (out / "report.txt").read_text()
    assert "Clock: 59.0 MHz reached of 50 wanted" in text
    assert "core.a -> core.c: 7.0 ns, of which routing 6.2 ns" in text
    assert "pins and clock" in text


def test_progress_without_a_terminal_is_plain_lines(fake_tools, console, tmp_path):
    build("ulx3s-12f", "tiny", out=tmp_path / "out", core=small_core, console=console)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "elaboration ..."
    assert any(line.startswith("place and route, seed 1 done in") for line in lines)
    assert any(FIRST_USE in line for line in lines)
    assert "\x1b" not in console.file.getvalue()


def test_missed_clock_names_the_path_and_keeps_the_old_bitstream(fake_tools, console, tmp_path):
    out = tmp_path / "out"
    build("ulx3s-12f", "tiny", out=out, core=small_core, console=console)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    script = fake_tools / "nextpnr_ecp5"
    script.write_text(script.read_text().replace("50.0 +", "40.0 +"))
    message = (
        "^clock must reach 50 MHz, but the best of 2 seeds reached 49.0 MHz; critical path "
        r"core.a -> core.c: 7.0 ns.*\(--seeds 4\) or a slower clock \(--clock 45\)$"
    )
    with pytest.raises(TimingError, match=message):
        build("ulx3s-12f", "tiny", out=out, seed=3, seeds=2, core=small_core, console=console)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_failing_tool_is_quoted_with_its_log(fake_tools, console, tmp_path):
    script = fake_tools / "yosys"
    script.write_text(f"#!{sys.executable}\nprint('a')\nprint('ERROR: no cell')\nexit(3)\n")
    with pytest.raises(ToolError, match=r"^yosys failed with exit code 3: ERROR: no cell \(log: "):
        build("ulx3s-12f", "tiny", out=tmp_path / "out", core=small_core, console=console)
    assert (tmp_path / "out" / "work" / "yosys.log").read_text() == "a\nERROR: no cell\n"
    assert not list((tmp_path / "out").glob("*.bit"))


def test_killed_tool_is_told_from_a_failed_one(fake_tools, console, tmp_path):
    script = fake_tools / "yosys"
    script.write_text(f"#!{sys.executable}\nimport os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(ToolError, match="^yosys was stopped by signal SIGKILL: is there enough"):
        build("ulx3s-12f", "tiny", out=tmp_path / "out", core=small_core, console=console)


def test_design_that_is_too_large_is_refused_after_synthesis(fake_tools, console, tmp_path):
    script = fake_tools / "yosys"
    script.write_text(script.read_text().replace("'DP16KD': 2", "'DP16KD': 57"))
    message = "^design must fit ulx3s-12f, but it needs .* 57 of 56 block RAM, 0 of 28 multiplier$"
    with pytest.raises(ToolError, match=message):
        build("ulx3s-12f", "tiny", out=tmp_path / "out", core=small_core, console=console)


def test_missing_tool_names_the_doctor(fake_tools, console, tmp_path, monkeypatch):
    monkeypatch.setenv("YOSYS", str(tmp_path / "nowhere"))
    with pytest.raises(ToolError, match="^yosys must be installed: run `lqfpga doctor`"):
        build("ulx3s-12f", "tiny", out=tmp_path / "out", core=small_core, console=console)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("arty",), {}, "^board must be one of ulx3s-12f"),
        (("ulx3s", "huge"), {}, "^preset must be one of"),
        (("ulx3s",), {"clock": 61.3}, "^clock must be reachable from 25 MHz"),
        (("ulx3s",), {"seeds": 0}, "^number of seeds must be at least 1, not 0$"),
        (("ulx3s-12f", "ulx3s-85f"), {}, "multipliers of ulx3s-12f, not 48$"),
    ],
)
def test_impossible_requests_are_refused_before_any_work(tmp_path, arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        build(*arguments, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_build_hash_depends_on_board_and_configuration():
    target, config = board("ulx3s-12f"), preset("tiny")
    hashes = {
        build_hash(target, config),
        build_hash(target, preset("ulx3s-12f")),
        build_hash(board("ulx3s-25f"), config),
    }
    assert len(hashes) == 3
    assert build_hash(target, config) in hashes
    assert all(0 <= value < 1 << 32 for value in hashes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.bitstream
def test_same_seed_gives_the_same_bytes(folder, console):
    digests = set()
    for name in ("first", "second"):
        report = build("ulx3s-12f", "tiny", out=folder / name, core=small_core, console=console)
        digests.add(report.bitstream_sha256)
    assert len(digests) == 1


@pytest.mark.bitstream
def test_spacers_lie_in_legal_places_and_stay_out_of_the_report(folder, console):
    report = build("ulx3s", "tiny", out=folder, core=small_core, console=console)
    spacers = 8 * len(COLUMNS["LFE5U-85F"]) * len(SPACER_ROWS["LFE5U-85F"])
    netlist = json.loads((folder / "work" / "seed1.json").read_text())
    (module,) = netlist["modules"].values()
    placed = {
        name.removeprefix(f"{SPACER} "): cell["attributes"]["NEXTPNR_BEL"]
        for name, cell in module["cells"].items()
        if name.startswith(SPACER)
    }
    assert len(placed) == spacers
    assert all(wanted == place for wanted, place in placed.items())
    assert 0 < report.lut4 < 1000
    assert sum(use.lut4 for use in report.modules) == report.lut4


@pytest.mark.bitstream
def test_too_fast_a_clock_fails(folder, console):
    with pytest.raises(TimingError, match="^clock must reach 400 MHz"):
        build("ulx3s-12f", "tiny", out=folder, clock=400, core=small_core, console=console)
    assert not list(folder.glob("*.bit"))


@pytest.mark.bitstream
def test_smallest_accelerator_becomes_a_bitstream(folder, console):
    report = build("ulx3s-12f", "tiny", console=console)
    bits = (folder / report.bitstream).read_bytes()
    assert bits.startswith(LATTICE_HEADER)
    assert report.bitstream_bytes == len(bits) > 50_000
    saved = json.loads((folder / "build/bitstream/ulx3s-12f/report.json").read_text())
    assert saved.keys() >= REPORT_KEYS
    assert saved["clock_reached_mhz"] >= saved["clock_target_mhz"] == 50
    modules = {use["name"]: use for use in saved["modules"]}
    assert modules["link"]["lut4"] > 0
    assert sum(use["lut4"] for use in saved["modules"]) == saved["lut4"]
    assert sum(use["ff"] for use in saved["modules"]) == saved["ff"]
    assert sum(use["bram"] for use in saved["modules"]) == saved["bram"] > 0
    assert os.path.getsize(folder / "build/bitstream/ulx3s-12f/floorplan.png") > 5_000
