"""Verilator's runtime is compiled once for the designs in a folder of builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.verilator import VerilatorRunner
from sim.verilator_runtime import OBJECTS, keep_runtime, kept_runtime, runtime_folder

SOURCE = "verilated_vpi.cpp"


@pytest.fixture
def verilator(tmp_path: Path) -> Path:
    """A folder with the sources of a runtime."""
    folder = tmp_path / "verilator"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / SOURCE).write_text("int answer = 42;\n")
    return folder


def test_a_second_design_takes_the_runtime_of_the_first(tmp_path: Path) -> None:
    texts = [
        "module top(input a, output b); assign b = a; endmodule",
        "module top(input clk, output reg b); always @(posedge clk) b <= ~b; endmodule",
    ]
    names, logs = [], []
    for number, text in enumerate(texts):
        build, log = tmp_path / f"build-{number}", tmp_path / f"log-{number}"
        build.mkdir()
        (build / "top.v").write_text(text)
        runner = VerilatorRunner("-O0", tmp_path)
        sources = [str(build / "top.v")]
        runner.build(sources=sources, hdl_toplevel="top", build_dir=build, log_file=log)
        assert (build / "top").exists()
        names.append({path.name for path in build.glob(OBJECTS)})
        logs.append(log.read_text())
    assert [SOURCE in log for log in logs] == [True, False]
    (kept,) = tmp_path.glob("verilator-runtime-*")
    assert names == [{path.name for path in kept_runtime(kept)}] * 2
    assert {"verilated.o", "verilated_vpi.o"} < names[0]


def test_the_key_holds_sources_options_and_environment(
    tmp_path: Path, verilator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runtime_folder(tmp_path, verilator, ["-O3"])
    assert runtime_folder(tmp_path, verilator, ["-O3"]) == first
    found = {first, runtime_folder(tmp_path, verilator, ["-O3", "--trace-fst"])}
    monkeypatch.setenv("CXXFLAGS", "-fPIC")
    found.add(runtime_folder(tmp_path, verilator, ["-O3"]))
    other = tmp_path / "other"
    verilator.rename(other)
    found.add(runtime_folder(tmp_path, other, ["-O3"]))
    (other / "include" / SOURCE).write_text("int answer = 43;\n")
    found.add(runtime_folder(tmp_path, other, ["-O3"]))
    assert len(found) == 5


def test_what_is_kept_first_stays(tmp_path: Path) -> None:
    kept = tmp_path / "runtime"
    assert kept_runtime(kept) == []
    for name in ("first", "second"):
        build = tmp_path / name
        build.mkdir()
        (build / "verilated.o").write_text(name)
        (build / "verilator.o").write_text("knows the design")
        keep_runtime(build, kept)
    assert [path.read_text() for path in kept_runtime(kept)] == ["first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "runtime", "second"]
