import importlib.util
import io
import json
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from host.doctor import examine, is_healthy, print_findings, to_plain, version_key
from host.requirements import REQUIREMENTS, Place, Requirement
from host.tools import find_tool


def requirement(place, **options):
    fields = {"name": "tool", "needed_for": "tests", "mend": "apt install tool", "minimum": "1.10"}
    return Requirement(find=lambda: place, **{**fields, **options})


def state_of(place, **options):
    (finding,) = examine((requirement(place, **options),))
    return finding.state


def printed(findings):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_findings(findings, console)
    return console.file.getvalue()


PYTHON = sys.executable


def program(folder: Path, name: str, output: str) -> None:
    path = folder / name
    path.write_text(f"#!{PYTHON}\nprint({output!r})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    """A machine without programs: PATH and this Python's folder of programs are empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for variable in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK", "OPENFPGALOADER"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "state"),
    [("1.10", "ok"), ("1.9.9", "old"), ("2.0+cpu", "ok"), ("1.010", "ok"), ("", "broken")],
)
def test_versions_are_compared_by_number(version, state):
    assert state_of(Place(version, "/bin/tool")) == state


def test_missing_tool_is_missing_and_optional_one_absent():
    assert state_of(None) == "missing"
    assert state_of(None, optional=True) == "absent"


def test_only_needed_tools_decide_on_health():
    missing, absent = requirement(None), requirement(None, optional=True)
    assert is_healthy(examine((absent,)))
    assert not is_healthy(examine((absent, missing)))


def test_without_programs_every_one_is_missing_with_its_command(empty_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    findings = {finding.name: finding for finding in examine()}
    for name in ("g++", "make", "perl", "verilator", "yosys", "nextpnr-ecp5", "ecppack", "torch"):
        assert findings[name].state == "missing", name
    assert findings["openFPGALoader"].state == "absent"
    assert findings["python"].state == "ok"
    text = printed(list(findings.values()))
    assert re.search(r"g\+\+ +sudo apt install g\+\+ make perl", text)
    assert re.search(r"torch +pip install 'torch==2.13.0'", text)
    assert "All needed tools are there." not in text


def test_program_on_path_is_found_with_its_version(empty_path):
    program(empty_path, "make", "GNU Make 4.3\nBuilt for x86_64")
    finding = next(f for f in examine() if f.name == "make")
    assert (finding.state, finding.version) == ("ok", "4.3")
    assert finding.where == str(empty_path / "make")


def test_pinned_tool_comes_before_the_systems_and_the_environment_before_both(
    empty_path, monkeypatch
):
    for name in ("ecppack", "yowasp-ecppack", "mine"):
        program(empty_path, name, "1.2")
    assert find_tool("ecppack") == str(empty_path / "yowasp-ecppack")
    monkeypatch.setenv("ECPPACK", str(empty_path / "mine"))
    assert find_tool("ecppack") == str(empty_path / "mine")


def test_healthy_table_says_so():
    text = printed(examine((requirement(Place("1.10", "/bin/tool")),)))
    assert "All needed tools are there." in text
    assert re.search(r"tool +tests +ok +1.10 +1.10 +/bin/tool", text)


def test_plain_form_is_json():
    findings = examine((requirement(None),))
    plain = json.loads(json.dumps(to_plain(findings)))
    assert plain["healthy"] is False
    assert plain["tools"][0]["mend"] == "apt install tool"


def test_minimum_versions_are_those_of_the_package():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {
        match[1]: match[2]
        for line in project["dependencies"]
        if (match := re.match(r"([\w-]+)(?:\[.*\])?[=~>]=([\d.]+)", line))
    }
    for entry in REQUIREMENTS:
        if entry.name in wanted:
            known, minimum = version_key(wanted[entry.name]), entry.minimum
            shown = version_key(minimum)
            assert known[: len(shown)] == shown or entry.name == "verilator", entry.name
