"""Adder chains as plain sums, and the errors of their use; proofs are in test_popcount."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Cat, Fragment, Module, Signal
from amaranth.sim import Simulator

from hw.compute.carry_chain import AdderChain, Product, has_carry_chains


def test_only_the_ecp5_has_these_carry_chains():
    assert has_carry_chains(SimpleNamespace(device="LFE5U-12F"))
    assert not has_carry_chains(SimpleNamespace(device="iCE40HX8K"))
    assert not has_carry_chains(None)


@pytest.mark.parametrize("width", [2, 5])
def test_a_sum_has_one_bit_more_than_its_operands_at_most(width):
    m = Module()
    chain = AdderChain(m, "chain", native=False)
    bits = [Signal() for _ in range(3)]
    with pytest.raises(ValueError, match=f"sum must have 3 or 4 bits, not {width}"):
        chain.add(list(bits), list(bits), width=width)
    Fragment.get(m, None)  # a module that is never used is a warning


def test_plain_adders_add_bits_products_and_a_carry():
    m = Module()
    x, y, a, b = Signal(2), Signal(3), Signal(2), Signal()
    total = Signal(4)
    chain = AdderChain(m, "chain", native=False)
    bits = chain.add([*x, Product(a[0], a[1])], list(y), b, width=4)
    chain.finish()
    m.d.comb += total.eq(Cat(bits))

    async def testbench(ctx):
        for value in range(1 << 8):
            ctx.set(Cat(x, y, a, b), value)
            expected = (value & 3) + ((value >> 5 & 3) == 3) * 4 + (value >> 2 & 7) + (value >> 7)
            assert ctx.get(total) == expected

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
