"""Equal modules become one, whatever order their ports have, and instances keep their names."""

import re

from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.modules import merge_equal_modules, start_always_blocks


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
    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.first = first = Leaf(1)
        m.submodules.second = second = Leaf(1)
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


def modules(text: str) -> list[str]:
    return re.findall(r"^module (\S+?) *\(", text, re.MULTILINE)


def test_equal_modules_are_merged_level_by_level() -> None:
    before = verilog.convert(Top(), name="top", strip_internal_attrs=True)
    assert len(modules(before)) == 8
    after = merge_equal_modules(before)
    names = modules(after)
    assert names[0] == "top"
    # One of the four equal leaves, the other leaf, and one of the two pairs are left.
    assert sorted(len(name.split(".")) for name in names) == [1, 2, 2, 3]
    for instance in ("left", "right", "other", "first", "second"):
        assert re.search(rf"^  \S+ +{instance} \($", after, re.MULTILINE), instance


def test_design_without_equal_modules_keeps_its_modules() -> None:
    before = verilog.convert(Leaf(3), name="top", strip_internal_attrs=True)
    after = merge_equal_modules(before)
    assert modules(after) == ["top"]
    assert merge_equal_modules(after) == after


def test_escaped_port_names_keep_their_blank() -> None:
    text = "module top(b, \\a$1 , c);\n  input b;\nendmodule\n"
    assert merge_equal_modules(text).startswith("module top(\\a$1 , b , c );\n")


def test_combinational_blocks_get_an_event_at_the_start() -> None:
    text = merge_equal_modules(verilog.convert(Leaf(3), name="top", strip_internal_attrs=True))
    blocks = text.count("always @*")
    assert blocks > 0
    assert text.count("if (\\initial$trigger ) begin end") == blocks
    started = start_always_blocks(text)
    assert "  reg \\initial$trigger ;\n  initial \\initial$trigger  <= 0;\n" in started
    assert "\\initial$trigger  = 0" not in started
