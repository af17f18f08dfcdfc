"""Documents of studies: text stays, tables are replaced, and nothing is written by halves."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from host.studies.findings import DocumentError, Findings, Table, write_findings

ONE = Table(name="one", headings=("name", "cycles"), rows=[("a", "1,000"), ("b", r"\2")])
LINES = "| name | cycles |\n| --- | ---: |\n| a | 1,000 |\n| b | \\2 |\n"


def findings(*tables):
    figure = Figure(figsize=(2, 2))
    figure.add_subplot().plot([1, 2])
    return Findings(tables=tables, figures={"plot": figure}, origin="sources 1234")


def test_a_table_replaces_what_was_between_its_marks(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("# X\n\n<!-- table one -->\nold\n<!-- end -->\n\nLearnt: much.\n")
    files = write_findings(findings(ONE), document, command="study x")
    note = "\n*`study x`; sources 1234*\n"
    expected = f"# X\n\n<!-- table one -->\n{LINES}{note}<!-- end -->\n\nLearnt: much.\n"
    assert document.read_text() == expected
    assert files == [document, tmp_path / "plot.png"]
    write_findings(findings(ONE), document, command="study x")
    assert document.read_text() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.png", "x.md"]


def test_a_document_that_does_not_exist_is_made(tmp_path):
    write_findings(findings(ONE), tmp_path / "new" / "x.md", command="study x")
    assert LINES in (tmp_path / "new" / "x.md").read_text()


def test_a_document_without_a_block_is_left_alone(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("<!-- table one -->\n<!-- end -->\n")
    other = Table(name="two", headings=("name",), rows=[])
    with pytest.raises(
        DocumentError, match=r"x\.md must have one block <!-- table two -->.* not 0"
    ):
        write_findings(findings(ONE, other), document, command="study x")
    assert document.read_text() == "<!-- table one -->\n<!-- end -->\n"
    assert not (tmp_path / "plot.png").exists()


def test_rows_have_as_many_cells_as_there_are_headings():
    with pytest.raises(ValueError, match="rows of table one must have 2 cells"):
        Table(name="one", headings=("name", "cycles"), rows=[("a",)])
