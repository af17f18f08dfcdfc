"""Shapes and files for ZigZag, and what is read back; the program itself runs in a study."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from golden.lowering import lower
from golden.onnx_import import import_model
from hw.config import preset
from sim.peer_tools import PeerError
from sim.zigzag import accelerator, run, shapes

MODEL = Path(__file__).parents[2] / "models" / "resnet20-cifar10-w2a2.onnx"
CONFIG = preset("ulx3s-85f")
STAND_IN = """
import json, types
def get_hardware_performance_zigzag(workload, accelerator, mapping, **options):
    layers = json.load(open(workload))
    assert {entry["name"] for entry in json.load(open(mapping))} >= {l["name"] for l in layers}
    assert json.load(open(accelerator))["operational_array"]["sizes"] == [16, 8, 48]
    assert options["opt"] == "latency"
    print("progress")
    results = []
    for index, layer in enumerate(layers[SKIPPED:]):
        node = types.SimpleNamespace(name=layer["name"])
        result = types.SimpleNamespace(
            layer=node, latency_total0=10.0 + index, latency_total2=100.0 + index
        )
        results.append((result, None))
    return 0, 0, [(None, results)]
"""


def install_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *, skipped: int = 0) -> None:
    """A package ``zigzag`` that answers with 100, 101, ... cycles."""
    (folder / "zigzag").mkdir()
    (folder / "zigzag" / "__init__.py").touch()
    (folder / "zigzag" / "api.py").write_text(f"SKIPPED = {skipped}\n{STAND_IN}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_shapes_have_the_planes_of_weights_and_activations() -> None:
    layers = {layer.name: layer for layer in shapes(lower(import_model(MODEL)))}
    assert len(layers) == 20
    first, second = layers["conv0"], layers["stage1.block0.conv1"]
    assert (first.weight_planes, first.activation_planes) == (5, 8)
    assert (second.weight_planes, second.activation_planes) == (2, 2)
    assert (second.source, second.output, second.stride) == ((32, 32), (16, 16), 2)
    assert layers["fc"].kernel == (1, 1)


def test_memories_have_the_sizes_and_ports_of_the_gateware() -> None:
    memories = accelerator(CONFIG)["memories"]
    assert memories["weights"]["size"] == 1024 * 48 * 16
    assert memories["columns"]["size"] == 2 * 1024 * 16 * 8
    reads = {name: memory["ports"][0]["bandwidth_max"] for name, memory in memories.items()}
    assert reads["weights"] == 16 * 48
    assert reads["columns"] == 8 * 48
    assert reads["activations"] == 32


def test_lanes_hold_channels_and_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(tmp_path, monkeypatch)
    layers = shapes(lower(import_model(MODEL)))
    result = run(Path(sys.executable), layers, CONFIG, tmp_path / "work")
    assert result.layer_cycles == tuple(range(100, 120))
    assert result.inner_cycles == tuple(range(10, 30))
    mappings = json.loads((tmp_path / "work" / "mapping.yaml").read_text())
    spatial = {entry["name"]: entry["spatial_mapping"] for entry in mappings}
    assert spatial["conv0"]["D3"] == ["C, 3", "FX, 3", "FY, 3"]
    assert spatial["stage2.block2.conv2"]["D3"] == ["C, 16", "FX, 3", "FY, 1"]
    assert spatial["fc"] == {
        "D1": ["K, 10"],
        "D2": ["OX, 1"],
        "D3": ["C, 32", "FX, 1", "FY, 1"],
    }


def test_a_missing_layer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(tmp_path, monkeypatch, skipped=1)
    layers = shapes(lower(import_model(MODEL)))
    with pytest.raises(PeerError, match="ZigZag must report 20 layers in order, not"):
        run(Path(sys.executable), layers, CONFIG, tmp_path / "work")
