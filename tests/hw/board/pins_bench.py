"""cocotb test bench: the host software classifies images through the simulated serial pins.

It runs in the simulator's process; the folder in the variable ``FOLDER`` has the program and the
images, and gets what the host software answered.
"""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, Event, FallingEdge, First, Timer
from cocotb.utils import get_sim_time

from compiler.program_file import load_program
from host.classify import classify_images
from host.driver import Accelerator, AcceleratorError
from host.link import Client

FOLDER = "PINS_FOLDER"
PERIOD_NS = 40
CYCLES_PER_BIT = 8
BIT_NS = PERIOD_NS * CYCLES_PER_BIT
BAUD_RATE = 1e9 / BIT_NS
DAMAGED = b"\x15" + bytes(range(1, 21)) + b"\x00"
"""A well-framed packet with a wrong checksum."""


class Pins:
    """Transport of the host software: a UART in simulated time at the pins of the design."""

    name = "simulated pins"
    baud_rate = BAUD_RATE

    def __init__(self, dut) -> None:
        self._dut = dut
        self._to_device: deque[int] = deque()
        self._to_host = bytearray()
        self._sent = Event()
        self._received = Event()

    async def send(self) -> None:
        """Forever: the host's transmitter."""
        rx, bit = self._dut.rx, Timer(BIT_NS, "ns")
        while True:
            while not self._to_device:
                self._sent.clear()
                await self._sent.wait()
            byte = self._to_device.popleft()
            for level in (0, *(byte >> index & 1 for index in range(8)), 1):
                rx.value = level
                await bit

    async def receive(self) -> None:
        """Forever: the host's receiver."""
        tx, bit, start = self._dut.tx, Timer(BIT_NS, "ns"), Timer(1.5 * BIT_NS, "ns")
        while True:
            await FallingEdge(tx)
            await start
            byte = 0
            for index in range(8):
                byte |= int(tx.value) << index
                await bit
            assert int(tx.value) == 1, "a byte must end with a stop bit"
            self._to_host.append(byte)
            self._received.set()

    @resume
    async def write(self, data: bytes) -> None:
        self._to_device.extend(data)
        self._sent.set()

    @resume
    async def read(self, timeout: float) -> bytes:
        if not self._to_host:
            self._received.clear()
            await First(self._received.wait(), Timer(max(1, round(timeout * 1e9)), "ns"))
        received = bytes(self._to_host)
        self._to_host.clear()
        return received

    @resume
    async def now(self) -> float:
        return get_sim_time("ns") * 1e-9

    def close(self) -> None:
        """Nothing is held open."""


def session(pins: Pins, folder: Path) -> dict[str, object]:
    """What a user does, with a damaged frame and a wrong program on the way."""
    program = load_program(folder / "program.lqp")
    other = load_program(folder / "other.lqp")
    images = np.load(folder / "images.npy")
    client = Client(pins, answer_seconds=2e-3)
    accelerator = Accelerator(client, clock=pins.now)
    try:
        accelerator.load(other)
        refusal = ""
    except AcceleratorError as error:
        refusal = str(error)
    accelerator.load(program)
    pins.write(DAMAGED)
    while pins.read(1e-3):
        pass
    named = ((f"image {index}", image, None) for index, image in enumerate(images))
    predictions = list(classify_images(accelerator, program, named))
    return {
        "preset": client.identity.preset,
        "refusal": refusal,
        "logits": [prediction.logits for prediction in predictions],
        "classes": [prediction.number for prediction in predictions],
        "cycles": [prediction.cycles for prediction in predictions],
        "repeated": client.statistics.repeated,
    }


@cocotb.test()
async def classify(dut) -> None:
    folder = Path(os.environ[FOLDER])
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    pins = Pins(dut)
    for task in (pins.send(), pins.receive()):
        cocotb.start_soon(task)
    answers = await bridge(session)(pins, folder)
    (folder / "answers.json").write_text(json.dumps(answers))
