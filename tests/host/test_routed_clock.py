"""The clock of a preset: that of a bitstream's report, if there is one of this preset."""

import json
import os

import pytest

from host.routed_clock import board_clock
from hw.config import preset
from sim.profile import Clock

CONFIG = preset("ulx3s-85f")


def write(folder, board, name, mhz, age=0):
    path = folder / board / "report.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"preset": name, "clock_reached_mhz": mhz, "board": board}))
    os.utime(path, (1000 - age, 1000 - age))
    return path


def test_without_a_bitstream_it_is_what_the_preset_asks_for(tmp_path):
    asked = Clock(mhz=40.0, is_routed=False, source="preset ulx3s-85f")
    assert board_clock(CONFIG, tmp_path) == asked
    write(tmp_path, "ulx3s-12f", "tiny", 64.0)
    assert board_clock(CONFIG, tmp_path) == asked


def test_the_newest_bitstream_of_the_preset_counts(tmp_path):
    write(tmp_path, "ulx3s-12f", "tiny", 64.0)
    write(tmp_path, "ulx3s-85f", "ulx3s-85f", 51.25, age=10)
    path = write(tmp_path, "ulx3s", "ulx3s-85f", 55.9, age=5)
    assert board_clock(CONFIG, tmp_path) == Clock(mhz=55.9, is_routed=True, source=str(path))


@pytest.mark.parametrize("content", ["{", "[]", '{"preset": "ulx3s-85f"}'])
def test_file_that_is_no_report_is_named(tmp_path, content):
    path = write(tmp_path, "ulx3s", "ulx3s-85f", 55.9)
    path.write_text(content)
    with pytest.raises(ValueError, match=r"ulx3s/report.json must be the report of a bitstream"):
        board_clock(CONFIG, tmp_path)
