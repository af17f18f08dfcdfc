"""Rows of the logic fabric that stay free of logic, so that the wires have room.

The placer packs a design as densely as cells fit into an ellipse about the middle of the chip, and
leaves the rest empty. Large arrays use every input of their LUTs, and the wires of such a dense
region do not suffice, while those outside are not needed. A LUT without any connection, fixed in
its place, keeps a place free: whole rows of them make the design a little larger (3.5 % more wire)
and far easier to route. Figures: ``docs/decisions/0010-room-for-wires.md``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COLUMNS", "SPACER", "SPACER_ROWS", "add_spacers"]

SPACER_ROWS = {"LFE5U-85F": tuple(y for y in range(2, 79, 4) if y not in (10, 22, 34, 46, 58, 70))}
"""Rows of tiles by device. Rows 10, 22, 34, 46, 58 and 70 hold block RAMs and multipliers."""

COLUMNS = {"LFE5U-85F": range(2, 125)}
"""Columns of tiles by device: all that hold logic."""
SLICES, LUTS = "ABCD", "01"
SPACER = "$spacer"
"""How the names of these cells begin."""


def add_spacers(netlist: dict[str, Any], top: str, device: str) -> int:
    """Put a LUT without connections in every place of the spacer rows; returns their number.

    Args:
        netlist: As yosys writes it as JSON; gets the cells.
        top: Name of the top module.
        device: Key of ``SPACER_ROWS``; others have none.

    Raises:
        ValueError: The netlist has spacers already.
    """
    cells = netlist["modules"][top]["cells"]
    if any(name.startswith(SPACER) for name in cells):
        raise ValueError("netlist must have no spacers yet")
    places = [
        f"X{x}/Y{y}/SLICE{piece}.K{lut}"
        for y in SPACER_ROWS.get(device, ())
        for x in COLUMNS[device]
        for piece in SLICES
        for lut in LUTS
    ]
    for place in places:
        cells[f"{SPACER} {place}"] = {
            "hide_name": 1,
            "type": "LUT4",
            "parameters": {"INIT": "0" * 16},
            "attributes": {"BEL": place},
            "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
            "connections": {pin: [] for pin in "ABCDZ"},
        }
    return len(places)
