"""The checked connection and the stream queue."""

import gc
from collections import deque
from random import Random

import pytest
from amaranth.hdl import Fragment, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import PRESETS
from hw.payloads import ActivationReadSignature, MemoryPortSignature, TableWriteSignature
from hw.stream import StreamQueue, connect_checked
from tests.hw.link.peers import receiver, sender, simulate

LAST = data.StructLayout({"data": 8, "last": 1})
FIRST = data.StructLayout({"data": 8, "first": 1})


def ports(a: wiring.Signature, b: wiring.Signature):
    return a.create(path=("a",)), b.flip().create(path=("b",))


def connected(a, b, connect=connect_checked) -> None:
    m = Module()
    try:
        connect(m, a, b)
    finally:
        Fragment.get(m, None)


@pytest.mark.parametrize(
    "signature",
    [
        stream.Signature(LAST),
        stream.Signature(unsigned(9)),
        MemoryPortSignature(),
        TableWriteSignature(depth=16, width=8, rows=4),
    ],
)
def test_equal_interfaces_connect(signature: wiring.Signature) -> None:
    connected(*ports(signature, signature))


def test_signatures_made_twice_are_equal() -> None:
    config = PRESETS["tiny"]
    a, b = ports(ActivationReadSignature(config), ActivationReadSignature(config))
    connected(a, b)
    connected(b, a)


def test_integers_and_shapes_of_equal_width_are_equal() -> None:
    connected(*ports(stream.Signature(9), stream.Signature(unsigned(9))))


@pytest.mark.parametrize("other", [FIRST, unsigned(9)])
def test_different_layouts_of_equal_width_are_refused(other) -> None:
    a, b = ports(stream.Signature(LAST), stream.Signature(other))
    connected(a, b, wiring.connect)  # the gap that is closed
    with pytest.raises(
        TypeError, match="^interfaces must have the same layout: a and b differ in payload"
    ):
        connected(a, b)


def test_different_layouts_in_a_nested_member_are_refused() -> None:
    a = wiring.Signature({"left": Out(stream.Signature(LAST)), "right": In(1)})
    b = wiring.Signature({"left": Out(stream.Signature(FIRST)), "right": In(1)})
    with pytest.raises(TypeError, match=r"a and b differ in left\.payload"):
        connected(*ports(a, b))


def test_two_sources_are_refused() -> None:
    a = stream.Signature(LAST).create(path=("a",))
    b = stream.Signature(LAST).create(path=("b",))
    with pytest.raises(TypeError, match="the direction or dimensions of"):
        connected(a, b)


@pytest.mark.parametrize("depth", [1, 3, 8])
@pytest.mark.parametrize("activity", [(1.0, 1.0), (0.4, 1.0), (1.0, 0.4), (0.5, 0.5)])
def test_queue_keeps_order(depth: int, activity: tuple[float, float]) -> None:
    rng = Random(f"{depth} {activity}")
    dut = StreamQueue(unsigned(16), depth=depth)
    items = [rng.getrandbits(16) for _ in range(100)]
    received: list[int] = []
    simulate(
        dut,
        sender(dut.i, items, rng, activity[0]),
        receiver(dut.o, received, len(items), rng, activity[1]),
        cycles_maximum=5000,
    )
    assert received == items


def test_queue_holds_its_depth() -> None:
    dut = StreamQueue(LAST, depth=4)

    async def testbench(ctx):
        content: deque[int] = deque()
        for item in range(6):
            assert ctx.get(dut.level) == len(content)
            ctx.set(dut.i.payload.data, item)
            ctx.set(dut.i.valid, 1)
            if ctx.get(dut.i.ready):
                content.append(item)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        assert list(content) == [0, 1, 2, 3]
        ctx.set(dut.o.ready, 1)
        while content:
            assert ctx.get(dut.o.payload.data) == content.popleft()
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, testbench, cycles_maximum=100)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="^queue depth must be at least 1, not 0$"):
        StreamQueue(unsigned(1), depth=0)
    gc.collect()  # so that the refused object is gone while its warning is ignored
