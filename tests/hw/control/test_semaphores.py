"""Semaphores against counters in Python."""

from random import Random

import pytest

from hw.control.semaphores import Semaphores
from hw.isa import SEMAPHORES
from tests.hw.link.peers import simulate

LIMIT = 63


def bits(mask: int) -> list[int]:
    return [index for index in range(SEMAPHORES) if mask >> index & 1]


@pytest.mark.parametrize("seed", range(4))
def test_grants_never_exceed_signals(seed: int) -> None:
    """Clients ask and signal at random; every grant must have been paid for before."""
    clients = 4
    dut = Semaphores(clients)
    counts = [0] * SEMAPHORES
    grants = [0]

    def client(index: int):
        rng = Random(f"{seed} {index}")
        port = dut.clients[index]

        async def testbench(ctx):
            wait = 0
            signal = 0
            while grants[0] < 120:
                _, _, granted = await ctx.tick().sample(port.grant)
                for semaphore in bits(signal):
                    counts[semaphore] += 1
                if granted:
                    grants[0] += 1
                    for semaphore in bits(wait):
                        counts[semaphore] -= 1
                        assert counts[semaphore] >= 0, f"seed {seed}"
                    ctx.set(port.request, 0)
                    wait = 0
                if not wait and rng.random() < 0.5:
                    wait = rng.getrandbits(SEMAPHORES) & rng.getrandbits(SEMAPHORES)
                    ctx.set(port.wait, wait)
                    ctx.set(port.request, wait != 0)
                signal = rng.getrandbits(SEMAPHORES) & rng.getrandbits(SEMAPHORES)
                signal &= sum(1 << s for s in range(SEMAPHORES) if counts[s] < LIMIT - 10)
                signal *= rng.random() < 0.4
                ctx.set(port.signal, signal)

        return testbench

    simulate(dut, *(client(index) for index in range(clients)), cycles_maximum=10_000)


def test_signals_of_one_cycle_add_up_and_saturate() -> None:
    dut = Semaphores(4)

    async def testbench(ctx):
        for expected in (4 * 3, LIMIT):
            for port in dut.clients:
                ctx.set(port.signal, 1)
            await ctx.tick().repeat(3 if expected < LIMIT else 30)
            for port in dut.clients:
                ctx.set(port.signal, 0)
            await ctx.tick().repeat(4)
            taken = 0
            ctx.set(dut.clients[0].wait, 1)
            ctx.set(dut.clients[0].request, 1)
            for _ in range(4 * LIMIT):
                _, _, granted = await ctx.tick().sample(dut.clients[0].grant)
                taken += granted
            ctx.set(dut.clients[0].request, 0)
            assert taken == expected

    simulate(dut, testbench, cycles_maximum=2000)


def test_an_instruction_waits_for_all_of_its_semaphores() -> None:
    dut = Semaphores(2)

    async def testbench(ctx):
        waiter, signaller = dut.clients
        ctx.set(waiter.wait, 0b101)
        ctx.set(waiter.request, 1)
        for signal in (0b001, 0b010, 0b001):
            ctx.set(signaller.signal, signal)
            await ctx.tick()
            ctx.set(signaller.signal, 0)
            for _ in range(6):
                _, _, granted = await ctx.tick().sample(waiter.grant)
                assert not granted
        ctx.set(signaller.signal, 0b100)
        await ctx.tick()
        ctx.set(signaller.signal, 0)
        await ctx.tick().until(waiter.grant)

    simulate(dut, testbench, cycles_maximum=100)


def test_an_instruction_without_semaphores_is_granted() -> None:
    dut = Semaphores(1)

    async def testbench(ctx):
        ctx.set(dut.clients[0].request, 1)
        await ctx.tick().until(dut.clients[0].grant)

    simulate(dut, testbench, cycles_maximum=100)
