"""Equal modules become one, instances keep their names; a loop clears memories of zeros."""

import re

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.rtlil import (
    clear_memories,
    convert,
    drop_zero_contents,
    ignore_collisions,
    keep_hierarchy,
    merge_equal_modules,
    remove_brackets,
)


class Leaf(wiring.Component):
    i: In(8)
    o: Out(8)

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = Signal(8)
        with m.If(self.i[0]):
            m.d.comb += value.eq(self.i + self.step)
        m.d.sync += self.o.eq(value)
        return m


class Pair(wiring.Component):
    """Two leaves in a row; their order decides only in which order they get their ports."""

    i: In(8)
    o: Out(8)

    def __init__(self, *, swapped: bool = False) -> None:
        self.swapped = swapped
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = Leaf(1)
        m.submodules.second = second = Leaf(1)
        if self.swapped:
            first, second = second, first
        m.d.comb += [first.i.eq(self.i), second.i.eq(first.o), self.o.eq(second.o)]
        return m


class Top(wiring.Component):
    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.left = left = Pair()
        m.submodules.right = right = Pair()
        m.submodules.other = other = Leaf(2)
        m.d.comb += [left.i.eq(self.i), right.i.eq(left.o), other.i.eq(right.o)]
        m.d.comb += self.o.eq(other.o)
        return m


def plain(component: wiring.Component) -> str:
    return rtlil.convert(component, name="top", emit_src=False)


def modules(text: str) -> list[str]:
    return re.findall(r"^module \\(\S+)$", text, re.MULTILINE)


def test_equal_modules_are_merged_level_by_level() -> None:
    before = plain(Top())
    assert len(modules(before)) == 8
    after = merge_equal_modules(before)
    names = modules(after)
    assert names[0] == "top"
    # One of the four equal leaves, the other leaf, and one of the two pairs are left.
    assert sorted(len(name.split(".")) for name in names) == [1, 2, 2, 3]
    for instance in ("left", "right", "other", "first", "second"):
        assert re.search(rf"^  cell \\\S+ \\{instance}$", after, re.MULTILINE), instance


def test_every_instance_has_a_module_after_merging() -> None:
    text = convert(Top(), "top")
    instances = re.findall(r"^  cell \\(\S+)", text, re.MULTILINE)
    assert len(instances) == 5
    assert set(instances) <= set(modules(text))


def test_order_of_ports_does_not_matter() -> None:
    assert len(modules(convert(Pair(swapped=True), "top"))) == 2


def test_modules_that_differ_are_kept() -> None:
    before = plain(Leaf(3))
    assert merge_equal_modules(before) == before.rstrip("\n") + "\n"
    assert convert(Leaf(3), "top") == before.rstrip("\n") + "\n"


def test_text_without_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="must start with its name, not 'wire x"):
        merge_equal_modules("wire x\nend\n")


def test_brackets_leave_names_and_stay_in_slices() -> None:
    text = "module \\a\n\n  wire width 4 \\v[1].x[0]\n\nconnect \\y \\v[1].x[0] [3:0]\n\nend\n"
    assert remove_brackets(text) == text.replace("\\v[1].x[0]", "\\v.1.x.0")


def test_names_that_would_become_equal_are_refused() -> None:
    text = "module \\a\n\n  wire width 4 \\v[1]\n\n  wire width 4 \\v.1\n\nend\n"
    with pytest.raises(ValueError, match=r"must differ in more than brackets: .*v\.1"):
        remove_brackets(text)


def test_named_and_frequent_modules_keep_their_hierarchy() -> None:
    text = keep_hierarchy(convert(Top(), "top"), lambda name: name == "top.other", 3)
    kept = re.findall(r"keep_hierarchy 1\n(?:attribute .*\n)*module \\(\S+)", text)
    # The leaf is instantiated four times, but once merged only twice, by the one pair.
    assert kept == ["top.other"]
    text = keep_hierarchy(convert(Top(), "top"), lambda name: False, 2)
    assert len(re.findall("keep_hierarchy", text)) == 2


class Memories(wiring.Component):
    """A memory of zeros and one with contents."""

    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.zeros = zeros = memory.Memory(shape=8, depth=4, init=[])
        m.submodules.filled = filled = memory.Memory(shape=8, depth=4, init=[0, 0, 5])
        ports = [zeros.read_port(), filled.read_port()]
        m.d.comb += self.o.eq(ports[0].data ^ ports[1].data)
        return m


def test_only_contents_of_zeros_are_dropped() -> None:
    text = convert(Memories(), "top")
    assert text.count("$meminit_v2") == 2
    dropped = drop_zero_contents(text)
    assert dropped.count("$meminit_v2") == 1
    assert re.search(r"connect \\DATA 32'0*101(0{16})\n", dropped)
    removed = set(text.splitlines()) - set(dropped.splitlines())
    assert all("meminit" in line or line.startswith("    ") for line in removed)
    assert text.count("\nend\n") == dropped.count("\nend\n")


def test_memories_without_contents_are_cleared_by_a_loop() -> None:
    verilog = (
        "  reg [7:0] zeros [3:0];\n"
        "  always @(posedge clk) begin\n"
        "  reg flags [1:0];\n"
        "  reg [7:0] filled [3:0];\n"
        "  initial begin\n"
        "    filled[0] = 8'h05;\n"
        "  reg [7:0] plain;\n"
    )
    cleared = clear_memories(verilog)
    assert re.findall(r"i <= (\d+); .* (\S+)\[i\] = 0;", cleared) == [
        ("3", "zeros"),
        ("1", "flags"),
    ]
    assert len(set(re.findall(r"begin : (\S+)", cleared))) == 2
    assert [line for line in cleared.splitlines() if line in verilog] == verilog.splitlines()


class TwoMemories(wiring.Component):
    """A table and a buffer, each with a port to write and one to read."""

    address: In(4)
    data: In(8)
    row: Out(8)
    other: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, port in (("row_12", self.row), ("buffer", self.other)):
            m.submodules[name] = storage = memory.Memory(shape=8, depth=16, init=[])
            write, read = storage.write_port(), storage.read_port()
            m.d.comb += [
                write.addr.eq(self.address),
                write.data.eq(self.data),
                write.en.eq(1),
                read.addr.eq(self.address),
                port.eq(read.data),
            ]
        return m


def test_only_reads_of_the_named_memories_may_return_anything() -> None:
    text = convert(TwoMemories(), "top")
    changed = ignore_collisions(text, re.compile(r"row_\d+"))
    reads = re.split(r"^  cell ", changed, flags=re.MULTILINE)
    masks = {
        memid: re.search(r"COLLISION_X_MASK (\S+)", read)[1]  # type: ignore[index]
        for read in reads
        if read.startswith("$memrd_v2")
        for memid in re.findall(r'MEMID "\\\\([^"]+)"', read)
    }
    assert masks == {"row_12": "1'1", "buffer": "1'0"}
    assert changed.replace("COLLISION_X_MASK 1'1", "COLLISION_X_MASK 1'0") == text


def test_no_memory_of_that_name_changes_nothing() -> None:
    text = convert(TwoMemories(), "top")
    assert ignore_collisions(text, re.compile(r"row")) == text
