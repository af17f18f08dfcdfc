"""The roofline table: roofs, what is reached, and which roof is the lower one."""

from __future__ import annotations

import pytest

from sim.attribution import Cause
from sim.roofline import roofline_markdown, rooflines
from tests.sim.test_profile_pictures import layer, profile

# The array does 100 MACs per cycle, the port moves 4 bytes.
MEMORY = layer("memory", {Cause.MEMORY: 400, Cause.ARRAY: 300}, macs=28_000, moved=2000)
ARRAY = layer("array", {Cause.ARRAY: 500, Cause.DRAIN: 100}, macs=48_000, moved=1000)
RESIDENT = layer("resident", {Cause.ARRAY: 500}, macs=50_000)
POOL = layer("pool", {Cause.OUTPUTS: 200}, macs=0, moved=800)


def test_the_lower_roof_is_that_of_the_array_or_of_the_port() -> None:
    memory, array, resident, pool, total = rooflines(profile([MEMORY, ARRAY, RESIDENT, POOL]))
    assert (memory.rate, memory.intensity, memory.memory_roof) == (40, 14, 56)
    assert (memory.limit, memory.reached) == ("memory port", pytest.approx(40 / 56))
    assert (array.memory_roof, array.limit, array.reached) == (192, "array", 0.8)
    assert (resident.memory_roof, resident.intensity) == (None, None)
    assert (resident.limit, resident.reached) == ("array", 1.0)
    assert (pool.rate, pool.reached) == (0, None)
    assert total.name == "total"
    assert (total.cycles, total.binary_macs, total.external_bytes) == (2000, 126_000, 3800)
    assert total.memory_roof == pytest.approx(4 * 126_000 / 3800)


def test_the_table_has_a_line_for_every_layer_and_one_for_all() -> None:
    text = roofline_markdown(profile([MEMORY, RESIDENT, POOL]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads, rule, *body = rows
    assert len({len(row) for row in rows}) == 1
    assert set("".join(rule)) <= set("-:")
    assert [row[0] for row in body] == ["memory", "resident", "pool", "total"]
    assert dict(zip(heads, body[0], strict=True)) == {
        "layer": "memory",
        "bits": "W2 A2",
        "cycles": "700",
        "binary MACs": "28,000",
        "bytes moved": "2,000",
        "MACs per byte": "14.0",
        "MACs per cycle": "40",
        "array roof": "100",
        "memory roof": "56",
        "of the lower roof": "71.4%",
        "lower roof": "memory port",
        "most cycles": "memory",
    }
    assert body[1][5] == body[1][8] == ""
    assert body[2][9:11] == ["", ""]
