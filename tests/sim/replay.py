"""A stand-in for the accelerator: it plays trace events that it finds in its external memory.

It has the ports of ``simulation_top``. A run reads records from
``RECORDS_OFFSET`` words after the start address on. A record is
a header word (bits 0-3 kind, 4-11 layer, 12-13 enable or engine, 16-31 address) and ``rows`` data
words; kind 0 ends the run, 1 is a vector of accumulators, 2 a stream vector, 3 an activation word,
4 a retirement.
"""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.isa import Counter, Register, Status
from hw.link.host_port import HostOperation
from sim.design import write_verilog
from sim.monitor import ENGINES

RECORDS_OFFSET = 1024
"""Words from the start address to the first record: room for instructions, which it ignores."""

END, ACCUMULATOR, STREAM, ACTIVATION, RETIRED = range(5)


class Replay(wiring.Component):
    """Plays one record every ``rows + 2`` cycles."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        rows = config.array.rows
        ports = {
            "request__valid": In(1),
            "request__ready": Out(1),
            "request__operation": In(HostOperation),
            "request__address": In(24),
            "request__data": In(32),
            "response__valid": Out(1),
            "response__ready": In(1),
            "response__data": Out(32),
            "busy": Out(1),
            "trace__layer": Out(8),
            "trace__accumulator_valid": Out(1),
            "trace__accumulator": Out(32 * rows),
            "trace__stream_valid": Out(1),
            "trace__stream_address": Out(range(config.memory.stream_vectors)),
            "trace__stream": Out(config.datapath.stream_width * rows),
            "trace__activation_enable": Out(2),
            "trace__activation_address": Out(range(config.memory.activation_words)),
            "trace__activation": Out(config.array.word_width),
        }
        for engine in ENGINES:
            ports |= {f"retired__{engine}__valid": Out(1), f"retired__{engine}__layer": Out(8)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._config.memory.external_words
        m.submodules.external = external = memory.Memory(shape=32, depth=depth, init=[])
        write, read = external.write_port(), external.read_port()
        pointer, status = Signal(range(depth)), Signal(8)
        self._host(m, write, read, pointer, status)
        self._play(m, read, pointer, status)
        return m

    def _host(self, m, write, read, pointer, status) -> None:
        operation = self.request__operation
        taken = self.request__valid & self.request__ready
        # ready depends on valid and toggles, to show that the driver obeys it
        beat = Signal()
        m.d.sync += beat.eq(~beat)
        waiting = Signal()
        m.d.comb += [
            self.request__ready.eq(self.request__valid & beat & ~waiting & ~self.response__valid),
            write.addr.eq(self.request__address),
            write.data.eq(self.request__data),
            write.en.eq(taken & (operation == HostOperation.WRITE_MEMORY)),
            self.busy.eq(status[0]),
        ]
        m.d.sync += waiting.eq(0)
        with m.If(self.response__valid & self.response__ready):
            m.d.sync += self.response__valid.eq(0)
        with m.If(taken & (operation == HostOperation.READ_MEMORY)):
            m.d.sync += waiting.eq(1)
        with m.If(waiting):
            m.d.sync += [self.response__valid.eq(1), self.response__data.eq(read.data)]
        with m.If(taken & (operation == HostOperation.READ_REGISTER)):
            m.d.sync += self.response__valid.eq(1)
            with m.Switch(self.request__address):
                with m.Case(Register.STATUS.value):
                    m.d.sync += self.response__data.eq(status)
                with m.Case(Register.FINGERPRINT.value):
                    m.d.sync += self.response__data.eq(self._config.fingerprint)
                for counter in Counter:
                    with m.Case(Register.COUNTERS.value + counter.value):
                        m.d.sync += self.response__data.eq(100 + counter.value)
                with m.Default():
                    m.d.sync += self.response__data.eq(0)
        start = taken & (operation == HostOperation.WRITE_REGISTER)
        with m.If(start & (self.request__address == Register.START.value)):
            m.d.sync += [
                pointer.eq(self.request__data + RECORDS_OFFSET),
                status.eq(Status.BUSY.value),
            ]

    def _play(self, m, read, pointer, status) -> None:
        rows = self._config.array.rows
        step, header, body = Signal(range(rows + 3)), Signal(32), Signal(32 * rows)
        host_reads = ~status[0]
        m.d.comb += read.addr.eq(pointer + step)
        with m.If(host_reads):
            m.d.comb += read.addr.eq(self.request__address)
        with m.If(status[0]):
            m.d.sync += step.eq(step + 1)
            with m.If(step == 1):
                m.d.sync += header.eq(read.data)
                with m.If(read.data[:4] == END):
                    m.d.sync += [status.eq(Status.DONE.value), step.eq(0)]
            with m.Elif(step > 1):
                m.d.sync += body.eq(Cat(body[32:], read.data))
            with m.If(step == rows + 2):
                m.d.sync += [step.eq(0), pointer.eq(pointer + rows + 1)]
        full = Signal()
        m.d.sync += full.eq(step == rows + 1)
        self._emit(m, full & status[0], header, body)

    def _emit(self, m, now, header, body) -> None:
        kind, enable, address = header[:4], header[12:14], header[16:]
        m.d.comb += [
            self.trace__layer.eq(header[4:12]),
            self.trace__accumulator.eq(body),
            self.trace__accumulator_valid.eq(now & (kind == ACCUMULATOR)),
            self.trace__stream.eq(body),
            self.trace__stream_address.eq(address),
            self.trace__stream_valid.eq(now & (kind == STREAM)),
            self.trace__activation.eq(body),
            self.trace__activation_address.eq(address),
        ]
        with m.If(now & (kind == ACTIVATION)):
            m.d.comb += self.trace__activation_enable.eq(enable)
        for number, engine in enumerate(ENGINES):
            valid, layer = (getattr(self, f"retired__{engine}__{x}") for x in ("valid", "layer"))
            m.d.comb += [
                valid.eq(now & (kind == RETIRED) & (enable == number)),
                layer.eq(header[4:12]),
            ]


def generate_verilog(config: AcceleratorConfig, path: Path) -> None:
    """The stand-in as Verilog; the same interface as ``sim.design.generate_verilog``."""
    write_verilog(Replay(config), "simulation_top", path)


def record(
    kind: int, layer: int, words: list[int], rows: int, address: int = 0, enable: int = 0
) -> list[int]:
    """One record for the external memory."""
    header = kind | layer << 4 | enable << 12 | address << 16
    return [header, *(word & 0xFFFFFFFF for word in words), *[0] * (rows - len(words))]
