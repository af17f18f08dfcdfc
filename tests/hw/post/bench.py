"""Drives a post engine through its ports and records what it does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from amaranth.sim import Simulator

from hw.config import AcceleratorConfig
from hw.payloads import threshold_group
from hw.post.engine import PostEngine

__all__ = ["Recording", "run_engine"]


@dataclass
class Recording:
    """What came out of the engine."""

    accumulators: list[tuple[int, list[int]]] = field(default_factory=list)
    streams: list[tuple[int, int, list[int]]] = field(default_factory=list)
    activations: list[tuple[int, int, int, int]] = field(default_factory=list)
    counts_at_done: list[tuple[int, int, int]] = field(default_factory=list)
    """Lengths of the three lists above when each command was done."""
    accepted: list[int] = field(default_factory=list)
    """Cycles in which the vectors were taken."""
    written: list[int] = field(default_factory=list)
    """Cycles of the words in ``activations``."""
    done: list[int] = field(default_factory=list)


def _split(value: int, width: int, rows: int) -> list[int]:
    parts = [(value >> row * width) & ((1 << width) - 1) for row in range(rows)]
    return [part - (1 << width) if part >> (width - 1) else part for part in parts]


def run_engine(
    config: AcceleratorConfig,
    *,
    parameters: Sequence[int],
    thresholds: Sequence[Sequence[tuple[int, int]]],
    commands: Sequence[int],
    vectors: Sequence[Sequence[int]],
    stall: float = 0.0,
    seed: int = 0,
    cycle_limit: int = 20_000,
) -> Recording:
    """Load the tables, run all commands, and check that no vector is left over."""
    dut = PostEngine(config)
    recording = Recording()

    async def load(ctx):
        group = threshold_group(config)
        for address in range(max(len(parameters), len(thresholds))):
            ctx.set(dut.parameters.enable, address < len(parameters))
            ctx.set(dut.thresholds.enable, address < len(thresholds))
            if address < len(parameters):
                ctx.set(dut.parameters.address, address)
                ctx.set(dut.parameters.data, parameters[address])
            if address < len(thresholds):
                entries = [{"threshold": t, "delta": d} for t, d in thresholds[address]]
                ctx.set(dut.thresholds.address, address)
                ctx.set(dut.thresholds.data, group.const(entries).as_value().value)
            await ctx.tick()
        ctx.set(dut.parameters.enable, 0)
        ctx.set(dut.thresholds.enable, 0)
        random_state = random.Random(seed)
        for word in commands:
            while random_state.random() < stall:
                await ctx.tick()
            ctx.set(dut.command.payload, word)
            ctx.set(dut.command.valid, 1)
            await ctx.tick().until(dut.command.ready)
            ctx.set(dut.command.valid, 0)

    async def feed(ctx):
        random_state = random.Random(seed + 1)
        for vector in vectors:
            while random_state.random() < stall:
                await ctx.tick()
            ctx.set(dut.vectors.payload, list(vector))
            ctx.set(dut.vectors.valid, 1)
            await ctx.tick().until(dut.vectors.ready)
            ctx.set(dut.vectors.valid, 0)

    def record(ctx, cycle):
        rows, trace = config.array.rows, dut.trace
        if ctx.get(dut.vectors.valid & dut.vectors.ready):
            recording.accepted.append(cycle)
        layer = ctx.get(trace.layer)
        if ctx.get(trace.accumulator_valid):
            values = _split(ctx.get(trace.accumulator), 32, rows)
            recording.accumulators.append((layer, values))
        if ctx.get(trace.stream_valid):
            values = _split(ctx.get(trace.stream), config.datapath.stream_width, rows)
            recording.streams.append((layer, ctx.get(trace.stream_address), values))
        enable = ctx.get(dut.activation_write.enable)
        assert enable == ctx.get(trace.activation_enable)
        if enable:
            mask = sum(((1 << rows) - 1) << half * rows for half in range(2) if enable >> half & 1)
            word = ctx.get(dut.activation_write.data) & mask
            address = ctx.get(dut.activation_write.address)
            recording.activations.append((layer, enable, address, word))
            recording.written.append(cycle)
        if ctx.get(dut.done):
            recording.done.append(cycle)
            recording.counts_at_done.append(
                (len(recording.accumulators), len(recording.streams), len(recording.activations))
            )

    async def observe(ctx):
        for cycle in range(cycle_limit):
            record(ctx, cycle)
            await ctx.tick()
            if len(recording.done) == len(commands):
                break
        assert len(recording.done) == len(commands), "the engine must finish all commands"
        for _ in range(4):
            record(ctx, cycle_limit)
            await ctx.tick()
        assert not ctx.get(dut.busy)
        assert not ctx.get(dut.vectors.valid), "the engine must take all vectors"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(load, background=True)
    simulator.add_testbench(feed, background=True)
    simulator.add_testbench(observe)
    simulator.run()
    return recording
