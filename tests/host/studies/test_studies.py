"""Each study on a small case, against figures that come another way; and the documents."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from golden.batching import batched
from golden.lowering import lower
from golden.onnx_import import import_model
from golden.quantizers import ActivationEncoding
from host.cli import cli
from host.studies import batch, counting, lanes, peers, scaling, widths
from host.studies.findings import Table
from host.studies.networks import PaperNetwork, integer_network
from host.studies.registry import STUDIES
from host.study_commands import STUDY_NAMES
from hw.config import preset
from sim.explore.evaluation import evaluate
from sim.explore.fields import changed
from sim.scale_sim import ScaleSimResult
from sim.zigzag import ZigZagResult

ROOT = Path(__file__).parents[3]
DOCUMENTS = ROOT / "docs" / "studies"
QUIET = Console(quiet=True)


def cells(table: Table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def number(text: str) -> float:
    return float(text.replace(",", "").rstrip("%"))


def test_the_command_knows_all_studies():
    assert tuple(STUDIES) == STUDY_NAMES
    result = CliRunner().invoke(cli, ["study", "nothing"])
    assert result.exit_code == 2
    assert "'counting', 'lanes'" in result.output


@pytest.mark.parametrize("name", STUDY_NAMES)
def test_a_document_shows_its_figure_and_says_what_was_learnt(name):
    text = (DOCUMENTS / f"{name}.md").read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert pictures == [f"{name}.png"]
    assert (DOCUMENTS / pictures[0]).stat().st_size < 100_000
    assert f"`lqfpga study {name}`" in text
    assert "## Learnt" in text
    assert f"[{name}.md]({name}.md)" in (DOCUMENTS / "README.md").read_text()


def test_calibration_does_not_change_cycles():
    """The shipped network is trained; those of the studies are hardly calibrated."""
    config = preset("ulx3s-85f")
    shipped = lower(import_model(ROOT / "models" / "resnet20-cifar10-w2a2.onnx"))
    network = integer_network("resnet20", 2, 2, first_layer_bits=5)
    assert evaluate(network, config).cycles == evaluate(shipped, config).cycles


def test_lanes_say_what_an_array_does_with_its_cycles(tmp_path):
    network = PaperNetwork("resnet20", 16)
    found = lanes.run(
        tmp_path, QUIET, networks=(network,), granules=(2, 3), shapes=((8, 16, 48), (16, 2, 192))
    )
    assert [table.name for table in found.tables] == ["lanes", "waits", "shapes"]
    rows = cells(found.tables[0])
    integers = integer_network("resnet20", 2, 2, size=16)
    macs = None
    for text, granules in zip(rows[network.label], (2, 3), strict=True):
        config = changed(preset("simulation-large"), {"granules": granules}, name="x")
        cycles = evaluate(integers, config).cycles
        used = number(text) / 100 * cycles * config.array.binary_macs_per_cycle
        macs = macs or used
        assert used == pytest.approx(macs, rel=2e-3)  # the same work, whatever the array
    assert [number(text) for text in rows["LUT4 of an element per lane"]] == [2.09, 1.94]


def test_a_network_without_a_program_has_no_figure(tmp_path):
    found = lanes.run(
        tmp_path,
        QUIET,
        networks=(PaperNetwork("resnet18", 192),),
        granules=(3,),
        shapes=((16, 8, 48),),
    )
    assert [row[1:] for row in found.tables[2].rows] == [("none",)]


def test_widths_are_beside_the_papers_accuracy_and_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    measured = []
    monkeypatch.setattr(
        widths, "measured_accuracy", lambda model, *_: measured.append(model.name) or 87.654
    )
    found = widths.run(tmp_path, QUIET, widths=((1, 1), (2, 2)), names=("resnet20",))
    assert measured == ["resnet20-cifar10-w2a2.onnx"]
    rows = cells(found.tables[0])
    network = integer_network("resnet20", 2, 2, first_layer_bits=5)
    cycles = evaluate(network, preset("simulation-large")).cycles
    assert cycles is not None
    pairs, said, rate, paper, ours = rows["resnet20 W2A2"]
    assert (pairs, said, paper, ours) == ("4", f"{cycles:,}", "90.2", "87.65")
    assert number(rate) == pytest.approx(61.9e6 / cycles, rel=1e-3)
    assert rows["resnet20 W1A1"][3:] == ["", ""]


def test_scaling_says_what_has_no_program(tmp_path):
    network = PaperNetwork("resnet20", 32)
    found = scaling.run(
        tmp_path, QUIET, networks=(network,), boards=("ulx3s-12f", "ulx3s-45f", "ulx3s-85f")
    )
    rows = cells(found.tables[0])
    integers = integer_network("resnet20", 2, 2)
    for name in ("12f", "45f", "85f"):
        outcome = evaluate(integers, preset(f"ulx3s-{name}-sdram"))
        row = rows[f"{network.label}, LFE5U-{name.upper()}"]
        if outcome.cycles is None:
            assert set(row) == {"none"}
            reasons = cells(found.tables[1])
            assert reasons[f"{network.label}, LFE5U-{name.upper()}"] == [outcome.reason]
        else:
            assert row[1] == f"{outcome.cycles:,}"
            rate, mhz = number(row[5]), number(row[4])
            assert rate == pytest.approx(mhz * 1e6 / outcome.cycles, rel=1e-2)


def test_a_batch_moves_its_tables_once(tmp_path):
    network = PaperNetwork("resnet20", 16)
    config = preset("ulx3s-45f-sdram")
    found = batch.run(tmp_path, QUIET, networks=(network,), batches=(1, 2, 9), config=config)
    rows = cells(found.tables[0])
    single, double = rows[f"{network.label}, 1"], rows[f"{network.label}, 2"]
    integers = integer_network("resnet20", 2, 2, size=16)
    assert single[0] == f"{evaluate(integers, config).cycles:,}"
    pair = evaluate(batched(integers, 2), config).cycles
    assert pair is not None
    assert double[0] == f"{round(pair / 2):,}"
    assert number(double[5]) == pytest.approx(number(single[5]) / 2, rel=0.02)
    assert set(rows[f"{network.label}, 9"]) == {"none"}
    assert "at most the array's 8 columns, not 9" in found.tables[1].rows[0][1]


def test_counting_compares_like_arrays(tmp_path, monkeypatch):
    asked = []

    def area(scheme, lanes, work, display):
        asked.append((scheme, lanes))
        return counting.Area(lut4=100 * len(asked), ff=7, macs=16 * lanes)

    monkeypatch.setattr(counting, "synthesised_area", area)
    found = counting.run(tmp_path, QUIET, lanes=(32,), widths=((2, 2),))
    assert [scheme for pair in counting.PAIRS.values() for scheme in pair] == [s for s, _ in asked]
    first = cells(found.tables[0])["LUT compressors, 32 lanes"]
    assert first == ["100", "0.20", "7", "200", "0.39", "7", "0.20"]
    network = integer_network("resnet20", 2, 2, encoding=ActivationEncoding.SIGNED)
    cycles = evaluate(network, preset("simulation-large")).cycles
    assert cells(found.tables[1])["W2A2"][1] == f"{cycles:,}"


def test_peers_get_arrays_with_as_many_macs_at_each_width(tmp_path, monkeypatch):
    """Of ResNet-20, 18 layers have 4 pairs of planes, the first one 40, the last one 64."""
    monkeypatch.chdir(ROOT)
    arrays = []

    def other(python, layers, *, rows, columns, folder, dataflow):
        arrays.append((dataflow, len(layers), rows, columns))
        return ScaleSimResult(20.0, (1000,) * len(layers))

    monkeypatch.setattr(peers.scale_sim, "run_topology", other)
    monkeypatch.setattr(
        peers.zigzag,
        "run",
        lambda p, layers, *_: ZigZagResult(9.0, (2000,) * len(layers), (1900,) * len(layers)),
    )
    for tool in (peers.scale_sim, peers.zigzag):
        monkeypatch.setattr(tool, "install", lambda folder: Path(sys.executable))
    seconds = iter((100.0, 109.0, 110.0, 121.0, 121.0, 161.0))
    monkeypatch.setattr(peers, "_child_seconds", lambda: next(seconds))
    monkeypatch.setattr(peers, "_import_seconds", lambda *_: 1.0)
    found = peers.run(tmp_path, QUIET)
    assert sorted(arrays) == [
        *(("os", 1, 6, 16), ("os", 1, 9, 16), ("os", 18, 96, 16)),
        *(("ws", 1, 6, 16), ("ws", 1, 9, 16), ("ws", 18, 96, 16)),
    ]
    rows = cells(found.tables[0])
    assert rows["cycle model"][:2] == ["38,841", "0"]
    assert rows["SCALE-Sim, weights stay"][0] == "20,000"
    assert [row[4] for row in rows.values()][1:] == ["8.0", "8.0", "8.0", "37.0"]
    assert rows["ZigZag"][0] == "40,000"
    assert rows["ZigZag"][1] == "+3%"
    by_layer = cells(found.tables[1])
    assert len(by_layer) == 20
    assert by_layer["conv0"][0] == "7,573"
