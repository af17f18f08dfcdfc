"""SDRAM parts: their sizes, and their timing rules in nanoseconds and in cycles of a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["SDRAM_PARTS", "SdramPart", "SdramTiming", "sdram_part"]

DATA_BITS = 16
BURST_HALVES = 2
"""Columns of a burst: the halves of a 32-bit word."""


@dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """The rules of a part in cycles of one clock, under the names of the data sheets (tRCD...)."""

    power_up: int
    """From stable power to the first command."""
    rcd: int
    """ACTIVATE to READ or WRITE of the same bank."""
    rp: int
    """PRECHARGE to ACTIVATE of the same bank, or to REFRESH."""
    ras: int
    """ACTIVATE to PRECHARGE of the same bank."""
    rc: int
    """ACTIVATE to ACTIVATE of the same bank."""
    rrd: int
    """ACTIVATE to ACTIVATE of another bank."""
    rfc: int
    """REFRESH to REFRESH or ACTIVATE."""
    wr: int
    """Last data that are written to PRECHARGE."""
    mrd: int
    """MODE REGISTER SET to any command."""
    refi: int
    """From one REFRESH to the next on average, at most."""


@dataclass(frozen=True, kw_only=True)
class SdramPart:
    """A single-data-rate SDRAM with 16 data pins.

    Attributes:
        name: Of the part.
        bank_bits, row_bits, column_bits: Address bits.
        power_up_us: Pause after power comes up, microseconds.
        rcd_ns, rp_ns, ras_ns, rc_ns, rrd_ns, rfc_ns, wr_ns: Shortest times, see
            :class:`SdramTiming`.
        refresh_ms: In this time every row must be refreshed.
        cas_latency: READ to its first data, in cycles.
        cas_mhz: Fastest clock for that latency.
    """

    name: str
    bank_bits: int = 2
    row_bits: int = 13
    column_bits: int = 9
    power_up_us: float = 200
    rcd_ns: float
    rp_ns: float
    ras_ns: float
    rc_ns: float
    rrd_ns: float
    rfc_ns: float
    wr_ns: float
    refresh_ms: float = 64
    cas_latency: int = 2
    cas_mhz: float = 100

    def __post_init__(self) -> None:
        for name, low, high in (
            ("bank_bits", 1, 2),
            ("row_bits", 2, 13),
            ("column_bits", 2, 10),
            ("cas_latency", 2, 3),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"SDRAM {name} must be {low} to {high}, not {getattr(self, name)}")
        if self.rc_ns < self.ras_ns:
            raise ValueError(
                f"SDRAM rc_ns must be at least ras_ns ({self.ras_ns:g}), not {self.rc_ns:g}"
            )

    @property
    def words(self) -> int:
        """32-bit words."""
        return 1 << self.bank_bits + self.row_bits + self.column_bits - 1

    @property
    def page_words(self) -> int:
        """32-bit words of an open row."""
        return 1 << self.column_bits - 1

    def timing(self, clock_mhz: float) -> SdramTiming:
        """The rules at ``clock_mhz``, rounded to the safe side.

        Raises:
            ValueError: The part is too slow for the clock, or the clock too slow for the refresh.
        """
        if clock_mhz > self.cas_mhz:
            raise ValueError(
                f"SDRAM clock must be at most {self.cas_mhz:g} MHz for {self.name} with a CAS "
                f"latency of {self.cas_latency}, not {clock_mhz:g}"
            )

        def cycles(nanoseconds: float) -> int:
            return max(1, math.ceil(nanoseconds * clock_mhz / 1000 - 1e-9))

        timing = SdramTiming(
            power_up=cycles(self.power_up_us * 1000),
            rcd=cycles(self.rcd_ns),
            rp=cycles(self.rp_ns),
            ras=cycles(self.ras_ns),
            rc=cycles(self.rc_ns),
            rrd=cycles(self.rrd_ns),
            rfc=cycles(self.rfc_ns),
            wr=cycles(self.wr_ns),
            mrd=2,
            refi=math.floor(self.refresh_ms * clock_mhz * 1000 / (1 << self.row_bits)),
        )
        if timing.refi < 8 * (timing.rp + timing.rfc + timing.rc):
            raise ValueError(
                f"SDRAM clock must leave time between refreshes of {self.name}: {timing.refi} "
                f"cycles at {clock_mhz:g} MHz are too few"
            )
        return timing


# Boards carry parts of several makers. These rules hold for the slowest of them: the 6 and 7 ns
# grades of IS42S16160, W9825G6, AS4C16M16 and MT48LC16M16.
_16MX16 = SdramPart(
    name="16Mx16", rcd_ns=21, rp_ns=21, ras_ns=45, rc_ns=66, rrd_ns=15, rfc_ns=70, wr_ns=15
)

SDRAM_PARTS: dict[str, SdramPart] = {
    part.name: part for part in (_16MX16, replace(_16MX16, name="32Mx16", column_bits=10))
}
"""By name; of 32 and 64 MiB."""


def sdram_part(name: str) -> SdramPart:
    """The part called ``name``; raises ``ValueError`` that lists the known ones."""
    try:
        return SDRAM_PARTS[name]
    except KeyError:
        known = ", ".join(SDRAM_PARTS)
        raise ValueError(f"SDRAM part must be one of {known}, not {name!r}") from None
