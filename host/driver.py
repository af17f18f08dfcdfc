"""An accelerator behind a link: loads a compiled program, runs it, reads results and counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.early_exit import certified
from compiler.program import Program
from host.link import Client, Progress
from hw.isa import IDENTITY_MAGIC, PROTOCOL_VERSION, Counter, Register, Status, Trap

__all__ = ["Accelerator", "AcceleratorError", "TrapRecord"]

WORD_BITS = 32
TRAP_SHIFT = 8
IDENTITY_MASK = 0xFFFFFF00
RUN_SECONDS = 10.0


class AcceleratorError(Exception):
    """The accelerator cannot run the program, or stopped; the text says why."""


@dataclass(frozen=True)
class TrapRecord:
    """Why and where a run was stopped."""

    cause: Trap
    address: int
    """External word address of the instruction."""

    def __str__(self) -> str:
        return f"{self.cause.name} at instruction {self.address:#08x}"


class Accelerator:
    """Runs compiled programs on the device of ``client``.

    The device is asked who it is when the object is made; :class:`AcceleratorError` tells if that
    is no accelerator, or one of another release.

    Args:
        client: Link to the device.
        clock: Seconds for time-outs of runs. A simulated device passes its own.
    """

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        identity = client.read_register(Register.IDENTITY.value)
        expected = IDENTITY_MAGIC | PROTOCOL_VERSION
        if identity != expected:
            what = (
                "an accelerator" if identity & IDENTITY_MASK != IDENTITY_MAGIC else "this release"
            )
            raise AcceleratorError(
                f"device on {client.name} must have the identity {expected:#010x} of {what}, not "
                f"{identity:#010x}; build the bitstream and install the host software from one "
                "release"
            )

    def check(self, program: Program) -> None:
        """Raise :class:`AcceleratorError` unless ``program`` was compiled for this device."""
        fingerprint = self._client.read_register(Register.FINGERPRINT.value)
        if fingerprint != program.fingerprint:
            raise AcceleratorError(
                f"program {program.network} must be compiled for the device's preset "
                f"{self._client.identity.preset} ({fingerprint:#010x}), not for {program.preset} "
                f"({program.fingerprint:#010x})"
            )

    def load(self, program: Program, progress: Progress | None = None) -> None:
        """Check, reset, write and run every stage, and write the memory image.

        ``progress`` is called with the words written and the words of all these steps.
        """
        self.check(program)
        self.reset()
        written, total = 0, program.load_words
        for stage in program.stages:
            self._client.write_memory(0, stage.memory.tolist(), _part_of(progress, written, total))
            self.run(stage.entry)
            written += len(stage.memory)
        self._client.write_memory(0, program.memory.tolist(), _part_of(progress, written, total))

    def classify(
        self, program: Program, image: list[int], *, timeout: float = RUN_SECONDS
    ) -> list[int]:
        """The logits, as integers, of one ``image``: a 32-bit word per pixel."""
        return self.classify_batch(program, [image], timeout=timeout)[0]

    def classify_batch(
        self, program: Program, images: Sequence[list[int]], *, timeout: float = RUN_SECONDS
    ) -> list[list[int]]:
        """The logits of each of at most ``program.images`` images, in one run.

        The last image stands in for those that are missing. ``timeout`` is in seconds per image.
        """
        if not 0 < len(images) <= program.images:
            raise ValueError(f"images of a run must be 1 to {program.images}, not {len(images)}")
        for number in range(program.images):
            self._write_image(program, images[min(number, len(images) - 1)], number)
        seconds = timeout * program.images
        return self._logits(program, program.image_entry, seconds)[: len(images)]

    def classify_early(
        self, program: Program, image: list[int], *, timeout: float = RUN_SECONDS
    ) -> tuple[list[int], int]:
        """Logits of an image up to the part of the last layer after which its class is certain,
        and the cycles of all runs.

        Raises:
            ValueError: The program has no such parts.
        """
        if not program.exits:
            raise ValueError(f"program {program.network} must have exits to stop early")
        self._write_image(program, image)
        total, cycles = np.zeros(program.result_count, np.int64), 0
        for part in program.exits:
            total += self._logits(program, part.image_entry, timeout)[0]
            cycles += self.counters()[Counter.TOTAL]
            if certified(total[None], np.array(part.bounds, np.int64))[0]:
                return total.tolist(), cycles
        raise AcceleratorError("the last exit must be certain: its bounds are not of this program")

    def _write_image(self, program: Program, image: list[int], number: int = 0) -> None:
        height, width, _ = program.image_shape
        words = height * width
        if len(image) != words:
            raise ValueError(f"image must have {words} words, not {len(image)}")
        self._client.write_memory(program.image_address + number * words, image)

    def _logits(self, program: Program, entry: int, timeout: float) -> list[list[int]]:
        """Run from ``entry`` on and read the result of each image."""
        self.run(entry, timeout=timeout)
        words = self._client.read_memory(program.result_address, program.result_words)
        return program.logits(np.array([_signed(word) for word in words])).tolist()

    def run(self, entry: int, *, timeout: float = RUN_SECONDS) -> None:
        """Run the instructions from word ``entry`` on until the END of the program.

        Raises :class:`AcceleratorError` if the run traps or takes longer than ``timeout`` seconds;
        the device is reset in the second case.
        """
        self._client.write_register(Register.START.value, entry)
        deadline = self._clock() + timeout
        while True:
            # The clock is read first: a run that ended in time is never called late.
            is_late = self._clock() > deadline
            status = self._client.read_register(Register.STATUS.value)
            if status & Status.TRAPPED.value:
                raise AcceleratorError(f"run from {entry:#08x} trapped: {self._trap(status)}")
            if status & Status.DONE.value and not status & Status.BUSY.value:
                return
            if is_late:
                self.reset()
                raise AcceleratorError(
                    f"run from {entry:#08x} must end within {timeout:g} s, and was reset (status "
                    f"{status:#x}); set a watchdog to learn where it stands"
                )

    def reset(self) -> None:
        """Stop, and clear everything but the memories."""
        self._client.write_register(Register.RESET.value, 1)

    def set_watchdog(self, cycles: int) -> None:
        """Have runs trap after ``cycles`` cycles; 0 lets them take any time."""
        self._client.write_register(Register.WATCHDOG.value, cycles)

    def trap(self) -> TrapRecord | None:
        """What stopped the last run, if anything did."""
        status = self._client.read_register(Register.STATUS.value)
        return self._trap(status) if status & Status.TRAPPED.value else None

    def counters(self) -> dict[Counter, int]:
        """Performance counters of the last run, in cycles."""
        first = Register.COUNTERS.value
        return {counter: self._client.read_register(first + counter.value) for counter in Counter}

    def _trap(self, status: int) -> TrapRecord:
        address = self._client.read_register(Register.TRAP_ADDRESS.value)
        cause = status >> TRAP_SHIFT & 0xFF
        try:
            return TrapRecord(Trap(cause), address)
        except ValueError:
            raise AcceleratorError(
                f"device on {self._client.name} must report a trap cause that this release knows, "
                f"not {cause}"
            ) from None


def _part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one transfer of several: ``before`` words are done, ``total`` are all."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _signed(word: int) -> int:
    return word - (1 << WORD_BITS) if word >> (WORD_BITS - 1) else word
