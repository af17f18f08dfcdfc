"""ULX3S boards: their sizes, and the top that puts a design behind oscillator, PLL and pins."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Module
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth_boards import ulx3s

from hw.board.clock import Pll, PllSettings
from hw.board.sdram_pads import SdramPads
from hw.config import ConfigError

__all__ = ["BAUD_RATE", "BOARDS", "LEDS", "Board", "UlxTop", "board"]

BAUD_RATE = 3_000_000
"""Fastest rate of the board's serial converter (FT231X)."""

LEDS = 8


@dataclass(frozen=True, kw_only=True)
class Board:
    """One size of the board, and the preset that is made for it."""

    name: str
    device: str
    preset: str
    platform: type
    """Its class in amaranth-boards."""

    lut4: int
    """4-input LUTs of the device, and as many flip-flops."""

    block_rams: int
    """Block RAMs of 18 kbit of the device."""

    multipliers: int
    """18 x 18 multipliers of the device."""

    oscillator_mhz: float = 25.0

    def make_platform(self) -> object:
        """A platform that needs no programmer to build for."""

        class BuildPlatform(self.platform):
            @property
            def required_tools(self) -> list[str]:
                return [tool for tool in super().required_tools if tool != "openFPGALoader"]

        return BuildPlatform()


def _boards() -> dict[str, Board]:
    # The open tools use all of a 12F, which is the chip of the 25F.
    sizes = {
        "12f": (24288, 56, 28),
        "25f": (24288, 56, 28),
        "45f": (43848, 108, 72),
        "85f": (83640, 208, 156),
    }
    boards = {
        f"ulx3s-{size}": Board(
            name=f"ulx3s-{size}",
            device=f"LFE5U-{size.upper()}",
            preset=f"ulx3s-{size}",
            platform=getattr(ulx3s, f"ULX3S_{size.upper()}_Platform"),
            lut4=lut4,
            block_rams=block_rams,
            multipliers=multipliers,
        )
        for size, (lut4, block_rams, multipliers) in sizes.items()
    }
    return {**boards, "ulx3s": boards["ulx3s-85f"]}


BOARDS: dict[str, Board] = _boards()
"""By name; ``ulx3s`` is the 85F."""


def board(name: str) -> Board:
    """The board called ``name``; raises :class:`ConfigError` that lists the known ones."""
    try:
        return BOARDS[name]
    except KeyError:
        raise ConfigError(f"board must be one of {', '.join(BOARDS)}, not {name!r}") from None


class UlxTop(wiring.Component):
    """The design for a ULX3S: oscillator, PLL and pins around a core.

    The ``sync`` domain is in reset until the PLL has locked, and again whenever it loses the lock.

    Parameters
    ----------
    core
        Component with the ports of ``hw.board.core.BoardCore``: ``rx``, ``tx``, ``leds`` and maybe
        ``sdram``.
    clock_mhz
        Frequency of the ``sync`` domain.
    oscillator_mhz
        Of the board.
    """

    def __init__(
        self, core: wiring.Component, *, clock_mhz: float, oscillator_mhz: float = 25.0
    ) -> None:
        self._pll = PllSettings.for_frequency(oscillator_mhz, clock_mhz)
        self._core = core
        super().__init__({})

    def elaborate(self, platform):
        m = Module()

        m.domains.sync = ClockDomain()
        m.submodules.pll = pll = Pll(self._pll)
        m.submodules.reset = ResetSynchronizer(~pll.locked)
        m.submodules.core = core = self._core
        uart = platform.request("uart", 0, dir=dict.fromkeys(("rx", "tx", "rts", "dtr"), "-"))
        m.submodules.oscillator = oscillator = io.Buffer(
            "i", platform.request(platform.default_clk, dir="-")
        )
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [
            pll.i.eq(oscillator.i),
            ClockSignal().eq(pll.o),
            core.rx.eq(rx.i),
            tx.o.eq(core.tx),
        ]
        for index in range(LEDS):
            lamp = io.Buffer("o", platform.request("led", index, dir="-"))
            m.submodules[f"led{index}"] = lamp
            m.d.comb += lamp.o.eq(core.leds[index])
        if "sdram" in core.signature.members:
            m.submodules.sdram = pads = SdramPads()
            wiring.connect(m, core.sdram, pads.pins)

        return m
