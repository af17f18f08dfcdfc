"""Free rows: which places they take, and that reports do not count them."""

from __future__ import annotations

import copy
from collections import Counter

import pytest

from host.bitstream_report import placed_cells
from host.spacers import COLUMNS, SPACER, SPACER_ROWS, add_spacers

NETLIST = {"modules": {"top": {"cells": {"core.q": {"type": "TRELLIS_FF"}}}}}


def spaced() -> dict[str, dict]:
    netlist = copy.deepcopy(NETLIST)
    add_spacers(netlist, "top", "LFE5U-85F")
    return netlist["modules"]["top"]["cells"]


def test_every_lut_of_a_spacer_row_is_taken_once() -> None:
    places = [c["attributes"]["BEL"] for name, c in spaced().items() if name.startswith(SPACER)]
    assert (
        len(places)
        == len(set(places))
        == 8 * len(COLUMNS["LFE5U-85F"]) * len(SPACER_ROWS["LFE5U-85F"])
    )
    rows = Counter(int(place.split("/")[1].removeprefix("Y")) for place in places)
    assert set(rows) == set(SPACER_ROWS["LFE5U-85F"])
    assert set(rows.values()) == {8 * len(COLUMNS["LFE5U-85F"])}


def test_no_two_spacer_rows_touch() -> None:
    rows = SPACER_ROWS["LFE5U-85F"]
    assert min(b - a for a, b in zip(rows, rows[1:], strict=False)) > 1


def test_spacers_are_not_connected_and_the_design_stays() -> None:
    cells = spaced()
    assert cells.pop("core.q") == {"type": "TRELLIS_FF"}
    assert all(not any(cell["connections"].values()) for cell in cells.values())
    assert {cell["type"] for cell in cells.values()} == {"LUT4"}


def test_other_devices_have_none() -> None:
    netlist = copy.deepcopy(NETLIST)
    assert add_spacers(netlist, "top", "LFE5U-12F") == 0
    assert netlist == NETLIST


def test_a_second_set_is_refused() -> None:
    netlist = copy.deepcopy(NETLIST)
    add_spacers(netlist, "top", "LFE5U-85F")
    with pytest.raises(ValueError, match="no spacers yet"):
        add_spacers(netlist, "top", "LFE5U-85F")


def test_a_report_does_not_count_them() -> None:
    placed = {"type": "TRELLIS_COMB", "attributes": {"NEXTPNR_BEL": "X4/Y6/SLICEA.K0"}}
    cells = {"core.sum": placed, f"{SPACER} X4/Y6/SLICEA.K1": placed}
    found = placed_cells({"modules": {"top": {"cells": cells}}})
    assert [cell.name for cell in found] == ["core.sum"]
