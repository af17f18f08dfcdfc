"""Byte transports under the link: the protocol that they follow, and the serial port."""

from __future__ import annotations

import time
from typing import Protocol

import serial
from serial.tools import list_ports

__all__ = ["LinkError", "SerialTransport", "Transport"]

WRITE_TIMEOUT_SECONDS = 5.0


class LinkError(Exception):
    """The device cannot be reached or refuses; the text says what to check."""


class Transport(Protocol):
    """A pair of byte streams with a clock of its own, which a simulated device stops and runs."""

    name: str
    """How messages call it, with its kind: "serial port /dev/ttyUSB0"."""

    baud_rate: float
    """Bits per second of the line, ten per byte."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises :class:`LinkError`."""
        ...

    def read(self, timeout: float) -> bytes:
        """At least one byte, or none after ``timeout`` seconds; raises :class:`LinkError`."""
        ...

    def now(self) -> float:
        """Seconds on the clock that ``timeout`` refers to."""
        ...

    def close(self) -> None:
        """Release the port."""
        ...


class SerialTransport:
    """A serial port of this machine.

    Args:
        port: Name as the operating system has it, such as ``/dev/ttyUSB0`` or ``COM3``.
        baud_rate: Bits per second; the same as that of the gateware.
    """

    def __init__(self, port: str, baud_rate: int = 3_000_000) -> None:
        if not port:
            raise LinkError(f"serial port must have a name; ports present: {_ports_present()}")
        self.name = f"serial port {port}"
        self.baud_rate = float(baud_rate)
        try:
            self._serial = serial.Serial(
                port,
                baud_rate,
                write_timeout=WRITE_TIMEOUT_SECONDS,
                exclusive=True,
            )
            self._serial.reset_input_buffer()
        except (OSError, ValueError, serial.SerialException) as error:
            raise LinkError(
                f"{self.name} cannot be opened: {error}; check that the board is plugged in, that "
                "no other program has the port open and that you may use it (on Linux: group "
                f"dialout); ports present: {_ports_present()}"
            ) from error

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except (OSError, serial.SerialException) as error:
            raise self._lost(error) from error

    def read(self, timeout: float) -> bytes:
        try:
            self._serial.timeout = timeout
            first = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except (OSError, serial.SerialException) as error:
            raise self._lost(error) from error

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._serial.close()

    def _lost(self, error: Exception) -> LinkError:
        return LinkError(f"{self.name} was lost: {error}; check the cable and the board's power")


def _ports_present() -> str:
    return ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
