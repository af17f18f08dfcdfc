"""The file of measurements."""

import pytest

from sim.explore.measurements import (
    CALIBRATION,
    MeasurementError,
    read_measurements,
    write_measurements,
)


def test_the_repositorys_file_is_what_would_be_written(tmp_path):
    write_measurements(tmp_path / "copy.csv", read_measurements())
    assert (tmp_path / "copy.csv").read_bytes() == CALIBRATION.read_bytes()


def test_all_measurements_come_from_one_set_of_tools():
    rows = read_measurements()
    assert len({(row.yosys, row.amaranth) for row in rows}) == 1
    assert all(row.lut4_total > 10_000 for row in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"none.csv must be readable \(No such file"),
        ("", "none.csv must have rows: run `lqfpga calibrate`"),
        ("name,rows\ntiny,4\n", "none.csv must be of this version"),
        ("header only\n", "none.csv must have rows"),
    ],
)
def test_refuses(tmp_path, text, message):
    path = tmp_path / "none.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MeasurementError, match=message):
        read_measurements(path)
