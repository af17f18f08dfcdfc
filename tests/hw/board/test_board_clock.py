import re
from fractions import Fraction

import pytest
from amaranth.back import rtlil

from hw.board.clock import Pll, PllSettings
from hw.config import PRESETS, ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_clock_is_made_exactly(name):
    wanted = Fraction(str(PRESETS[name].clock_mhz))
    settings = PllSettings.for_frequency(25, PRESETS[name].clock_mhz)
    assert settings.output_mhz == wanted


@pytest.mark.parametrize("mhz", [10, 31.25, 50, 60, 62.5, 65, 68.75, 75, 80, 112.5, 125, 400])
def test_settings_stay_within_the_limits_of_the_chip(mhz):
    settings = PllSettings.for_frequency(25, mhz)
    assert settings.output_mhz == Fraction(str(mhz))
    assert 400 <= settings.oscillator_mhz <= 800
    assert 25 / settings.input_divider >= 3.125
    assert 1 <= settings.feedback_divider <= 80
    assert 1 <= settings.output_divider <= 128


def test_other_oscillators_work():
    assert PllSettings.for_frequency(12, 60).output_mhz == 60


def test_unreachable_clock_names_its_neighbours():
    message = (
        "clock must be reachable from 25 MHz by a PLL, not 61.3 MHz; "
        "the nearest reachable ones are 60 and 62.5 MHz"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        PllSettings.for_frequency(25, 61.3)


@pytest.mark.parametrize("mhz", [0, 9.9, 401, -50])
def test_clock_out_of_range_is_refused(mhz):
    with pytest.raises(ConfigError, match=rf"^clock must be 10 to 400 MHz, not {mhz}$"):
        PllSettings.for_frequency(25, mhz)


def test_oscillator_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"^PLL input clock must be 8 to 400 MHz, not 1$"):
        PllSettings.for_frequency(1, 50)


def test_primitive_carries_dividers_and_frequencies():
    text = rtlil.convert(Pll(PllSettings.for_frequency(25, 60)))
    for line in (
        r"parameter \CLKI_DIV 5",
        r"parameter \CLKFB_DIV 12",
        r"parameter \CLKOP_DIV 10",
    ):
        assert re.search(line.replace("\\", r"\\").replace(" ", r" +(signed +)?"), text), line
    assert 'attribute \\FREQUENCY_PIN_CLKI "25"' in text
    assert 'attribute \\FREQUENCY_PIN_CLKOP "60"' in text
