"""System clock of a board: exact PLL dividers, and the PLL."""

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import Const, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import ConfigError

__all__ = ["Pll", "PllSettings"]

DIVIDER_MAXIMUM = 128
FEEDBACK_MAXIMUM = 80
INPUT_RANGE = (Fraction(8), Fraction(400))
OUTPUT_RANGE = (Fraction(10), Fraction(400))
OSCILLATOR_RANGE = (Fraction(400), Fraction(800))
COMPARISON_MINIMUM = Fraction(25, 8)


@dataclass(frozen=True, kw_only=True)
class PllSettings:
    """Dividers of an ECP5 PLL whose feedback comes from its output; frequencies in MHz.

    ``output = input * feedback_divider / input_divider``, exactly. The oscillator inside runs at
    ``output * output_divider``.
    """

    input_mhz: Fraction
    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def output_mhz(self) -> Fraction:
        return self.input_mhz * self.feedback_divider / self.input_divider

    @property
    def oscillator_mhz(self) -> Fraction:
        return self.output_mhz * self.output_divider

    @classmethod
    def for_frequency(cls, input_mhz: float, output_mhz: float) -> "PllSettings":
        """The settings that make exactly ``output_mhz``; raises :class:`ConfigError` if none do.

        Of several possible ones, those with the highest comparison frequency (least jitter) and
        an oscillator as near as possible to the middle of its range.
        """
        source, target = _exact(input_mhz), _exact(output_mhz)
        _require_in_range("PLL input clock", source, INPUT_RANGE)
        _require_in_range("clock", target, OUTPUT_RANGE)
        ratio = target / source
        feedback, divider = ratio.numerator, ratio.denominator
        if feedback > FEEDBACK_MAXIMUM or source / divider < COMPARISON_MINIMUM:
            below, above = _reachable_neighbours(source, target)
            raise ConfigError(
                f"clock must be reachable from {_text(source)} MHz by a PLL, not {_text(target)} "
                f"MHz; the nearest reachable ones are {_text(below)} and {_text(above)} MHz"
            )
        middle = sum(OSCILLATOR_RANGE) / 2
        low, high = OSCILLATOR_RANGE
        output_divider = min(
            (d for d in range(1, DIVIDER_MAXIMUM + 1) if low <= target * d <= high),
            key=lambda d: (abs(target * d - middle), d),
        )
        return cls(
            input_mhz=source,
            input_divider=divider,
            feedback_divider=feedback,
            output_divider=output_divider,
        )


def _exact(mhz: float) -> Fraction:
    """The decimal number that a float was written as: 0.1 is a tenth."""
    return Fraction(str(mhz))


def _text(mhz: Fraction) -> str:
    return f"{float(mhz):.10g}"


def _require_in_range(name: str, mhz: Fraction, limits: tuple[Fraction, Fraction]) -> None:
    low, high = limits
    if not low <= mhz <= high:
        raise ConfigError(f"{name} must be {low} to {high} MHz, not {_text(mhz)}")


def _reachable_neighbours(source: Fraction, target: Fraction) -> tuple[Fraction, Fraction]:
    """Largest reachable frequency below and smallest one above an unreachable ``target``."""
    possible = {
        source * feedback / divider
        for divider in range(1, int(source / COMPARISON_MINIMUM) + 1)
        for feedback in range(1, FEEDBACK_MAXIMUM + 1)
    }
    # A third of a MHz is no decimal number: nobody could ask for it.
    reachable = {f for f in possible if _exact(float(f)) == f}
    low, high = OUTPUT_RANGE
    below = max((f for f in reachable if low <= f < target), default=low)
    above = min((f for f in reachable if target < f <= high), default=high)
    return below, above


class Pll(wiring.Component):
    """The ECP5's PLL. Its output may have edges of any distance while ``locked`` is 0.

    nextpnr derives the frequency constraint of the output from the dividers and the constraint of
    the input's pin.

    Parameters
    ----------
    settings
        Dividers and frequencies.
    """

    #: Clock of ``settings.input_mhz``.
    i: In(1)
    #: Clock of ``settings.output_mhz``, in no fixed phase to the input.
    o: Out(1)
    #: The output is as it should be; asynchronous.
    locked: Out(1)

    def __init__(self, settings: PllSettings) -> None:
        self._settings = settings
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        m.submodules.primitive = self._primitive()

        return m

    def _primitive(self) -> Instance:
        """Charge pump and filter values are those of Lattice's generator."""
        settings = self._settings
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=_text(settings.input_mhz),
            a_FREQUENCY_PIN_CLKOP=_text(settings.output_mhz),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=settings.input_divider,
            p_CLKFB_DIV=settings.feedback_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=settings.output_divider,
            p_CLKOP_CPHASE=(settings.output_divider - 1) // 2,
            p_CLKOP_FPHASE=0,
            i_CLKI=self.i,
            i_CLKFB=self.o,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=self.o,
            o_LOCK=self.locked,
        )
