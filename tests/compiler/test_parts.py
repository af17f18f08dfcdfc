"""Parts of windows: they cover every granule once and fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.parts import Part, window_parts
from compiler.plan import plan_network
from compiler.tiling import geometry
from compiler.windows import Granule, window_granules
from golden.export import model_bytes
from golden.integer_network import ConvolutionLayer
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from hw.config import AcceleratorConfig, preset

LIMITS = RandomLimits(image=(3, 5), channels=60, blocks=(1, 2))
SEEDS = (59, 83, 101)


def config_of(column_granules: int) -> AcceleratorConfig:
    tiny = preset("tiny")
    memory = replace(
        tiny.memory, column_granules=column_granules, window_entries=1024, pass_entries=512
    )
    return replace(tiny, memory=memory)


@pytest.mark.parametrize("capacity", [32, 64, 128])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_granule_with_all_its_planes_lies_in_one_part_that_fits(
    seed: int, capacity: int
) -> None:
    config = config_of(128)
    network = lower(import_bytes(model_bytes(random_model(seed, LIMITS))))
    plan = plan_network(network, config)
    found = 0
    for layer in plan.layers:
        if layer.tables is None or not layer.tables.parts:
            continue
        assert isinstance(layer.layer, ConvolutionLayer)
        source = layer.source
        shape = geometry(layer.layer, source, config)  # type: ignore[arg-type]
        parts = window_parts(layer.layer, shape, source, capacity)  # type: ignore[arg-type]
        channels = layer.layer.weight_planes.shape[4]
        granules = window_granules(layer.layer, source, 4, (0, channels))  # type: ignore[arg-type]
        row = shape.row_granules(1)
        for granule in granules:
            (part,) = [part for part in parts if part.holds(granule)]
            placed = part.place(granule)
            last_plane = placed.offset + source.planes - 1  # type: ignore[union-attr]
            width = part.granules[1] - part.granules[0]
            assert 0 <= placed.row < part.rows[1] - part.rows[0]
            assert 0 <= placed.offset <= last_plane < width
        for part in parts:
            rows, width = (end - first for first, end in (part.rows, part.granules))
            assert rows * width <= capacity
            assert part.granules[0] % 2 == part.granules[1] % 2 == 0
            assert width == row or rows == 1
        found += 1
    assert found == 1


def test_layers_that_fit_or_have_several_outputs_have_no_parts() -> None:
    network = lower(import_bytes(model_bytes(random_model(59, LIMITS))))
    large = plan_network(network, config_of(4096))
    assert not any(layer.tables.parts for layer in large.layers if layer.tables is not None)
    split = plan_network(network, config_of(128))
    with_parts = [layer for layer in split.layers if layer.tables and layer.tables.parts]
    assert [layer.layer.output_shape[:2] for layer in with_parts] == [(1, 1)]
    assert with_parts[0].tiles[0].height == with_parts[0].tiles[0].width == 1


def test_passes_are_those_of_the_parts_one_behind_the_other() -> None:
    network = lower(import_bytes(model_bytes(random_model(83, LIMITS))))
    for layer in plan_network(network, config_of(128)).layers:
        tables = layer.tables
        if tables is None or not tables.parts:
            continue
        assert [index for part in tables.parts for index in part.passes] == list(
            range(len(tables.passes))
        )
        assert [word for part in tables.parts for word in part.weights] == list(
            range(tables.weights.shape[1])
        )
        assert all(len(part.passes) > 0 for part in tables.parts)
        whole = plan_network(network, config_of(4096)).layers[layer.tag].tables
        assert whole is not None
        # The same weight bits are set, in all; parts that lie alike share their window words.
        assert int(tables.masks.sum()) <= int(whole.masks.sum())
        assert int(tables.weights.sum()) == int(whole.weights.sum())


def test_a_part_holds_its_rows_and_granules_only() -> None:
    part = Part(rows=(1, 2), granules=(8, 16))
    taps = np.arange(4)
    assert part.holds(Granule(1, 8, taps))
    assert not part.holds(Granule(0, 8, taps))
    assert not part.holds(Granule(1, 16, taps))
    assert not part.holds(Granule(1, 7, taps))
    placed = part.place(Granule(1, 12, taps))
    assert (placed.row, placed.offset) == (0, 4)
