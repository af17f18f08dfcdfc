from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from compiler.program import Program, Stage
from host.driver import Accelerator, AcceleratorError, TrapRecord
from host.link import Client
from hw.isa import IDENTITY_MAGIC, PROTOCOL_VERSION, Counter, Register, Status, Trap
from tests.host.model_device import IDENTITY, ModelDevice, ModelTransport

PROGRAM = Program(
    network="small",
    preset="tiny",
    fingerprint=IDENTITY.fingerprint,
    stages=(
        Stage(entry=8, memory=np.arange(300, dtype=np.uint32) + 1000),
        Stage(entry=24, memory=np.arange(40, dtype=np.uint32) + 2000),
    ),
    image_entry=16,
    image_address=100,
    image_shape=(2, 3, 1),
    result_address=200,
    result_count=3,
    result_fraction=4,
    labels=(),
    layers=(),
    tensors=(),
    memory=np.arange(150, dtype=np.uint32) + 0xFFFFFF00,
)


class ModelAccelerator(ModelDevice):
    """Registers that behave as those of the gateware; a run does what ``on_start`` says."""

    def __init__(self, on_start: Callable[["ModelAccelerator", int], None]) -> None:
        super().__init__()
        self.starts: list[int] = []
        self._on_start = on_start
        self.registers[Register.IDENTITY.value] = IDENTITY_MAGIC | PROTOCOL_VERSION
        self.registers[Register.FINGERPRINT.value] = IDENTITY.fingerprint

    def write_register(self, register: int, value: int) -> None:
        super().write_register(register, value)
        if register == Register.START.value:
            self.starts.append(value)
            self._on_start(self, value)
        elif register == Register.RESET.value:
            self.registers[Register.STATUS.value] = 0


def finish(device: ModelAccelerator, entry: int) -> None:
    """Sum the image's pixels; the negative of it; zero."""
    total = sum(device.memory.get(100 + pixel, 0) for pixel in range(6))
    device.memory |= {200: total & 0xFFFFFFFF, 201: -total & 0xFFFFFFFF, 202: 0}
    device.registers[Register.STATUS.value] = Status.DONE.value


def trap(device: ModelAccelerator, entry: int) -> None:
    device.registers[Register.STATUS.value] = Status.TRAPPED.value | Trap.WATCHDOG.value << 8
    device.registers[Register.TRAP_ADDRESS.value] = entry + 8


def hang(device: ModelAccelerator, entry: int) -> None:
    device.registers[Register.STATUS.value] = Status.BUSY.value


def accelerator_of(device: ModelAccelerator) -> Accelerator:
    ticks = iter(range(1_000_000))
    return Accelerator(Client(ModelTransport(device)), clock=lambda: float(next(ticks)))


def words_at_zero(device: ModelAccelerator, count: int) -> list[int]:
    return [device.memory[address] for address in range(count)]


def test_load_writes_and_runs_every_stage_and_then_writes_the_image() -> None:
    found: list[tuple[int, list[int]]] = []

    def note(device: ModelAccelerator, entry: int) -> None:
        found.append((entry, words_at_zero(device, 300 if entry == 8 else 40)))
        finish(device, entry)

    device = ModelAccelerator(note)
    accelerator_of(device).load(PROGRAM)
    assert found == [(stage.entry, stage.memory.tolist()) for stage in PROGRAM.stages]
    assert words_at_zero(device, 150) == PROGRAM.memory.tolist()


def test_progress_of_load_goes_through_all_stages() -> None:
    calls: list[tuple[int, int]] = []
    accelerator = accelerator_of(ModelAccelerator(finish))
    accelerator.load(PROGRAM, lambda done, total: calls.append((done, total)))
    done = [count for count, _ in calls]
    assert {total for _, total in calls} == {300 + 40 + 150}
    assert {300, 340} < set(done)
    assert done == sorted(set(done))
    assert done[-1] == 490


def test_load_stops_at_a_stage_that_traps() -> None:
    device = ModelAccelerator(trap)
    with pytest.raises(AcceleratorError, match=r"^run from 0x000008 trapped: WATCHDOG"):
        accelerator_of(device).load(PROGRAM)
    assert device.starts == [8]
    assert words_at_zero(device, 300) == PROGRAM.stages[0].memory.tolist()


def test_classify_returns_signed_logits() -> None:
    device = ModelAccelerator(finish)
    accelerator = accelerator_of(device)
    assert accelerator.classify(PROGRAM, [1, 2, 3, 4, 5, 6]) == [21, -21, 0]
    assert device.starts == [16]
    assert accelerator.trap() is None


BATCH = replace(PROGRAM, images=3, result_stride=4)


def finish_batch(device: ModelAccelerator, entry: int) -> None:
    """As :func:`finish`, for three images; between their results lies a word that says nothing."""
    for image in range(3):
        total = sum(device.memory[100 + 6 * image + pixel] for pixel in range(6))
        results = {0: total & 0xFFFFFFFF, 1: -total & 0xFFFFFFFF, 2: image, 3: 77}
        device.memory |= {200 + 4 * image + word: value for word, value in results.items()}
    device.registers[Register.STATUS.value] = Status.DONE.value


def test_a_batch_gives_the_logits_of_every_image_in_one_run() -> None:
    device = ModelAccelerator(finish_batch)
    images = [[1] * 6, [2] * 6, [3] * 6]
    logits = accelerator_of(device).classify_batch(BATCH, images)
    assert logits == [[6, -6, 0], [12, -12, 1], [18, -18, 2]]
    assert device.starts == [16]


def test_a_batch_that_is_not_full_is_filled_up_with_its_last_image() -> None:
    device = ModelAccelerator(finish_batch)
    accelerator = accelerator_of(device)
    assert accelerator.classify_batch(BATCH, [[1] * 6, [2] * 6]) == [[6, -6, 0], [12, -12, 1]]
    assert [device.memory[112 + pixel] for pixel in range(6)] == [2] * 6


@pytest.mark.parametrize("count", [0, 4])
def test_a_batch_of_another_number_of_images_is_refused(count: int) -> None:
    device = ModelAccelerator(finish_batch)
    with pytest.raises(ValueError, match=f"^images of a run must be 1 to 3, not {count}$"):
        accelerator_of(device).classify_batch(BATCH, [[1] * 6] * count)
    assert device.starts == []


def test_classify_checks_the_image() -> None:
    with pytest.raises(ValueError, match="^image must have 6 words, not 5$"):
        accelerator_of(ModelAccelerator(finish)).classify(PROGRAM, [1, 2, 3, 4, 5])


def test_trap_is_named() -> None:
    accelerator = accelerator_of(ModelAccelerator(trap))
    with pytest.raises(
        AcceleratorError, match=r"^run from 0x000010 trapped: WATCHDOG at instr.*18$"
    ):
        accelerator.run(16)
    assert accelerator.trap() == TrapRecord(Trap.WATCHDOG, 24)


def test_run_without_end_is_reset() -> None:
    device = ModelAccelerator(hang)
    with pytest.raises(AcceleratorError, match="^run from 0x000010 must end within 5 s, and was r"):
        accelerator_of(device).run(16, timeout=5.0)
    assert device.register_writes[-1] == (Register.RESET.value, 1)


def test_program_of_another_preset_is_refused() -> None:
    device = ModelAccelerator(finish)
    device.registers[Register.FINGERPRINT.value] = 0x55
    with pytest.raises(AcceleratorError, match=r"^program small must be compiled for the device's"):
        accelerator_of(device).load(PROGRAM)
    assert device.starts == []
    assert device.memory == {}


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (0x12345678, "must have the identity 0x4c514602 of an accelerator, not 0x12345678"),
        (IDENTITY_MAGIC | 99, "must have the identity 0x4c514602 of this release, not 0x4c514663"),
    ],
)
def test_other_devices_are_refused(identity: int, message: str) -> None:
    device = ModelAccelerator(finish)
    device.registers[Register.IDENTITY.value] = identity
    with pytest.raises(AcceleratorError, match=message):
        accelerator_of(device)


def test_counters_have_names() -> None:
    device = ModelAccelerator(finish)
    device.registers |= {Register.COUNTERS.value + c.value: 10 + c.value for c in Counter}
    assert accelerator_of(device).counters() == {c: 10 + c.value for c in Counter}
    accelerator_of(device).set_watchdog(5000)
    assert device.registers[Register.WATCHDOG.value] == 5000
