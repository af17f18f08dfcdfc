"""Tables: on the terminal, CSV, LaTeX."""

import csv
import io
from dataclasses import replace

from rich.console import Console

from sim.explore.metrics import METRICS
from sim.explore.space import Dimension, Space
from sim.explore.tables import candidates_csv, front_latex, front_table, varied
from tests.sim.explore.questions import SPACE, small_result


def rows():
    result = small_result()
    text = candidates_csv(SPACE, result.candidates, result.front)
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_candidate_with_its_figures_or_its_reason():
    result = small_result()
    assert len(rows()) == len(result.candidates) == 8
    for row, candidate in zip(rows(), result.candidates, strict=True):
        assert {name: int(row[name]) for name in candidate.point} == candidate.point
        assert row["feasible"] == str(int(candidate.is_feasible))
        assert row["problems"] == "; ".join(candidate.problems)
        assert row["cycles"] == (str(candidate.metrics["cycles"]) if candidate.metrics else "")
        clock = ("50.0", "routed") if candidate.metrics else ("", "")
        assert (row["mhz"], row["clock"]) == clock
    assert sum(row["front"] == "1" for row in rows()) == len(result.front)


def test_only_sizes_that_differ_are_shown():
    front = small_result().front
    assert set(varied(SPACE, front)) == {
        name for name in front[0].point if len({c.point[name] for c in front}) > 1
    }
    assert varied(SPACE, front[:1]) == list(front[0].point)


def test_terminal_shows_the_front():
    text = io.StringIO()
    Console(file=text, width=200).print(front_table(SPACE, small_result().front))
    for candidate in small_result().front:
        assert METRICS["cycles"].text(candidate.metrics["cycles"]) in text.getvalue()


def test_batches_have_a_column_of_their_own_and_their_latency():
    space = Space(SPACE.base, (*SPACE.dimensions, Dimension("batch", (1, 4))))
    front = [
        replace(c, point={**c.point, "batch": batch})
        for c in small_result().front
        for batch in (1, 4)
    ]
    text = io.StringIO()
    Console(file=text, width=200).print(front_table(space, front))
    assert "batch" in text.getvalue()
    assert "batch=" not in text.getvalue()
    for candidate in front:
        assert METRICS["latency_ms"].text(candidate.metrics["latency_ms"]) in text.getvalue()


def test_latex_has_a_row_for_each_point_and_no_bare_special_characters():
    result = small_result()
    text = front_latex(SPACE, result.front, "50% of net_1 & more")
    assert r"\caption{50\% of net\_1 \& more}" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(result.front)
    columns = len(varied(SPACE, result.front)) + len(METRICS)
    assert all(line.count("&") == columns - 1 and line.endswith(r"\\") for line in body)
    assert "{" + "r" * columns + "}" in text
