"""What a study finds, and how it gets into the study's document.

A document is Markdown written by hand, with a block for each table::

    <!-- table NAME -->
    <!-- end -->

A study replaces what stands between, and writes its figures beside the document.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from sim.profile_pictures import save_figure

__all__ = ["DocumentError", "Findings", "Table", "write_findings"]

END = "<!-- end -->"


class DocumentError(ValueError):
    """A document without a block for a table; the text names both."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as text; the first column is a name, the others are figures."""

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(
                    f"rows of table {self.name} must have {len(self.headings)} cells, not {row!r}"
                )

    def markdown(self) -> str:
        """Lines of Markdown."""
        marks = ["---"] + ["---:"] * (len(self.headings) - 1)
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (self.headings, marks, *self.rows))


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that a study writes."""

    tables: Sequence[Table]
    figures: Mapping[str, Figure]
    """By the stem of the file's name."""
    origin: str
    """What the figures depend on, for the line under each table."""


def write_findings(findings: Findings, document: Path, *, command: str) -> list[Path]:
    """Fill in the tables of ``document`` and write the figures beside it; the files written.

    A document that does not exist is made, with nothing but the tables.

    Raises:
        DocumentError: The document has no block for a table. Nothing is written then.
    """
    if document.exists():
        text = document.read_text(encoding="utf-8")
    else:
        blocks = (f"<!-- table {table.name} -->\n{END}\n" for table in findings.tables)
        text = f"# {document.stem}\n\n" + "\n".join(blocks)
    for table in findings.tables:
        text = _filled(text, table, f"*`{command}`; {findings.origin}*", document)
    document.parent.mkdir(parents=True, exist_ok=True)
    written = [document]
    for stem, figure in findings.figures.items():
        written.append(document.with_name(f"{stem}.png"))
        save_figure(figure, written[-1])
    temporary = document.with_name(f"{document.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(document)
    return written


def _filled(text: str, table: Table, note: str, document: Path) -> str:
    start = f"<!-- table {table.name} -->"
    pattern = re.compile(f"{re.escape(start)}\n.*?{re.escape(END)}", re.DOTALL)
    block = f"{start}\n{table.markdown()}\n{note}\n{END}"
    filled, count = pattern.subn(lambda _: block, text)
    if count != 1:
        raise DocumentError(f"{document} must have one block {start} ... {END}, not {count}")
    return filled
