"""Tests of compiler.layout."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from compiler.layout import (
    NO_CHANNEL,
    MemoryFull,
    PlaneLayout,
    RegionAllocator,
    StreamLayout,
    identity_order,
    output_order,
)
from compiler.orders import channel_orders, plane_layouts
from compiler.program import ProgramError
from golden.export import model_bytes
from golden.integer_network import Residual
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import random_model


def _layer(channels: int) -> SimpleNamespace:
    return SimpleNamespace(name="conv", convolution_shape=(4, 4, channels))


def _residual(channel_map: list[int]) -> Residual:
    return Residual("skip", 1, 0, np.array(channel_map))


@pytest.mark.parametrize(
    ("planes", "slots"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (8, 8), (9, 10)]
)
def test_blocks_have_one_slot_or_an_even_number(planes: int, slots: int) -> None:
    layout = PlaneLayout(height=3, width=5, order=identity_order(12, 4), planes=planes, rows=4)
    assert layout.slots == slots
    assert layout.pixel_stride == (3 * slots + 1) // 2 * 2
    assert layout.words == 3 * 5 * layout.pixel_stride // 2


def test_stream_layout_is_dense() -> None:
    layout = StreamLayout(height=3, width=5, order=identity_order(9, 4), rows=4)
    assert (layout.blocks, layout.row_stride, layout.vectors) == (3, 15, 45)


def test_identity_order_fills_the_last_block() -> None:
    assert identity_order(5, 4) == (0, 1, 2, 3, 4, -1, -1, -1)


def test_channels_sit_where_their_residual_sits() -> None:
    source = (2, 0, 1, NO_CHANNEL)
    order = output_order(_layer(3), _residual([0, 1, 2]), source, 4)
    assert order == source


def test_padded_channels_fill_empty_lanes_then_new_blocks() -> None:
    # Channels 2, 3, 4 take residual channels 0, 1, 2; 0, 1, 5, 6 have none.
    order = output_order(_layer(7), _residual([-1, -1, 0, 1, 2, -1, -1]), (0, 1, 2, -1), 4)
    assert order == (2, 3, 4, 0, 1, 5, 6, -1)


def test_a_dropped_residual_channel_leaves_its_lane_empty() -> None:
    # The stream of channel 1 is added to nothing: putting another channel there would be wrong.
    order = output_order(_layer(3), _residual([0, 2, -1]), (0, 1, 2, -1), 4)
    assert order == (0, -1, 1, 2)


def test_one_residual_channel_for_two_outputs_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"^layer conv: residual channel 0 must be added to one"):
        output_order(_layer(2), _residual([0, 0]), (0, 1, 2, 3), 4)


def test_every_channel_has_one_position_for_random_maps() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        sources = rng.randint(1, 11)
        channels = sources + rng.randint(0, 9)
        channel_map = list(range(sources)) + [-1] * (channels - sources)
        rng.shuffle(channel_map)
        source = list(identity_order(sources, 4))
        rng.shuffle(source)
        order = output_order(_layer(channels), _residual(channel_map), tuple(source), 4)
        assert sorted(c for c in order if c != NO_CHANNEL) == list(range(channels)), seed
        assert len(order) % 4 == 0, seed
        for position, channel in enumerate(order):
            if channel != NO_CHANNEL and channel_map[channel] != -1:
                assert source[position] == channel_map[channel], seed


def test_regions_that_live_together_do_not_overlap() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        allocator = RegionAllocator("memory", 1 << 16)
        for index in range(30):
            first = rng.randint(0, 20)
            allocator.allocate(f"t{index}", rng.randint(1, 99), first, first + rng.randint(0, 5))
        for a in allocator.regions:
            for b in allocator.regions:
                together = a is not b and a.first <= b.last and b.first <= a.last
                apart = a.base + a.size <= b.base or b.base + b.size <= a.base
                assert not together or apart, seed


def test_memory_is_reused_after_a_lifetime() -> None:
    allocator = RegionAllocator("memory", 100)
    assert allocator.allocate("a", 80, 0, 1) == 0
    assert allocator.allocate("b", 80, 2, 3) == 0


def test_a_full_memory_is_refused_with_the_numbers() -> None:
    allocator = RegionAllocator("activation memory", 100)
    allocator.allocate("a", 80, 0, 1)
    expected = "tensor b must fit the activation memory: it needs 30 entries from 80"
    with pytest.raises(ProgramError, match="^" + re.escape(expected)):
        allocator.allocate("tensor b", 30, 1, 2)


def test_more_planes_than_the_datapath_has_are_refused() -> None:
    network = lower(import_bytes(model_bytes(random_model(0))))
    narrow = replace(network, arithmetic=replace(network.arithmetic, planes_maximum=1))
    orders = channel_orders(narrow, 4)
    with pytest.raises(ProgramError, match=r"^tensor \w+(\.\w+)* must have at most 1 planes, not"):
        plane_layouts(narrow, orders, 4)


def test_regions_from_the_top_lie_as_high_as_they_fit() -> None:
    memory = RegionAllocator("memory", 100)
    assert memory.allocate("a", 20, 0, 1, from_top=True) == 80
    assert memory.allocate("b", 30, 1, 2, from_top=True) == 50
    # "a" does not live any more.
    assert memory.allocate("c", 20, 2, 3, from_top=True) == 80
    assert memory.allocate("d", 10, 2, 3) == 0
    assert memory.allocate("e", 40, 2, 3, from_top=True) == 10
    with pytest.raises(MemoryFull, match=r"^f must fit the memory: it needs 1 entries from 100"):
        memory.allocate("f", 1, 2, 3, from_top=True)
