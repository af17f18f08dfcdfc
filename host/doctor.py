"""``lqfpga doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import re
import sysconfig
from dataclasses import asdict, dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from host.requirements import REQUIREMENTS, Requirement

__all__ = ["Finding", "examine", "is_healthy", "print_findings", "to_plain", "version_key"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """State of one requirement."""

    name: str
    needed_for: str
    state: str
    """ "ok", "old", "broken" (does not run), "missing" or "absent" (missing, but optional)."""
    version: str
    minimum: str
    where: str
    mend: str
    """Empty if nothing is to be mended."""

    @property
    def is_ok(self) -> bool:
        return self.state in ("ok", "absent")


def version_key(text: str) -> tuple[int, ...]:
    """The numbers of a version for comparison: "5.048" equals "5.48"."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0]))


def examine(requirements: tuple[Requirement, ...] = REQUIREMENTS) -> list[Finding]:
    """Look for everything, in the order of the requirements."""
    return [_examine(requirement) for requirement in requirements]


def _examine(requirement: Requirement) -> Finding:
    place = requirement.find()
    if place is None:
        state = "absent" if requirement.optional else "missing"
    elif requirement.minimum and not place.version:
        state = "broken"
    elif version_key(place.version) < version_key(requirement.minimum):
        state = "old"
    else:
        state = "ok"
    return Finding(
        name=requirement.name,
        needed_for=requirement.needed_for,
        state=state,
        version=place.version if place else "",
        minimum=requirement.minimum,
        where=place.where if place else "",
        mend="" if state == "ok" else requirement.mend,
    )


def is_healthy(findings: list[Finding]) -> bool:
    return all(finding.is_ok for finding in findings)


def print_findings(findings: list[Finding], console: Console) -> None:
    """A table, then the commands that mend what is wrong."""
    styles = {
        "ok": "green",
        "old": "red",
        "broken": "red",
        "missing": "red",
        "absent": "yellow",
    }
    rows = [
        (
            finding.name,
            finding.needed_for,
            finding.state,
            re.sub(r"(\.0)*(\.post|\+).*", "", finding.version),
            finding.minimum,
            _short(finding.where),
        )
        for finding in findings
    ]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    headings = ("Tool", "For", "State", "Version", "Minimum")
    for index, heading in enumerate(headings):
        width = max(len(text) for text in (heading, *(row[index] for row in rows)))
        table.add_column(heading, no_wrap=True, min_width=width)
    table.add_column("Place", no_wrap=True, overflow="ellipsis", style="dim")
    for row in rows:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    console.print(table)
    for wanted, title in ((False, "To mend"), (True, "Optional")):
        chosen = [f for f in findings if f.mend and f.is_ok == wanted]
        if chosen:
            console.print(f"{title}:", markup=False)
            width = max(len(finding.name) for finding in chosen)
            for finding in chosen:
                text = f"  {finding.name:{width}}  {finding.mend}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)
    if is_healthy(findings):
        console.print("All needed tools are there.")


def _short(where: str) -> str:
    """The place without the folder of this Python's packages or programs."""
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("scripts")):
        parent = os.path.dirname(folder)
        if where.startswith(folder):
            return "..." + where.removeprefix(parent)
    return where


def to_plain(findings: list[Finding]) -> dict[str, object]:
    """For ``--json``."""
    return {
        "healthy": is_healthy(findings),
        "tools": [asdict(finding) for finding in findings],
    }
