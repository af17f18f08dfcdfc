"""Commands and pins of an SDRAM, as the controller and the model of a part see them."""

from __future__ import annotations

from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from .sdram_part import BURST_HALVES, DATA_BITS, SdramPart

__all__ = ["SdramAddress", "SdramCommand", "SdramPinsSignature", "mode_register"]

PRECHARGE_ALL = 1 << 10
"""Address bit of PRECHARGE: all banks."""


class SdramCommand(enum.Enum, shape=3):
    """The pins ras_n, cas_n and we_n, from the highest bit to the lowest; cs_n is always 0."""

    MODE = 0b000
    REFRESH = 0b001
    PRECHARGE = 0b010
    ACTIVATE = 0b011
    WRITE = 0b100
    READ = 0b101
    NOP = 0b111


class SdramPinsSignature(wiring.Signature):
    """Pins, from the controller's viewpoint."""

    def __init__(self) -> None:
        super().__init__(
            {
                "command": Out(SdramCommand, init=SdramCommand.NOP),
                "bank": Out(2),
                "address": Out(13),
                "dq_o": Out(DATA_BITS),
                # 1: the controller drives the data pins.
                "dq_oe": Out(1),
                "dq_i": In(DATA_BITS),
            }
        )


class SdramAddress(data.StructLayout):
    """How the address of a 32-bit word is cut: neighbours share a row, then come the banks.

    Parameters
    ----------
    part
        Sizes.
    """

    def __init__(self, part: SdramPart) -> None:
        super().__init__(
            {
                "column": part.column_bits - 1,  # of the word: half of that of its first half
                "bank": part.bank_bits,
                "row": part.row_bits,
            }
        )


def mode_register(part: SdramPart) -> int:
    """Value of the mode register: sequential bursts of two columns, also for writes."""
    return (BURST_HALVES.bit_length() - 1) | part.cas_latency << 4
