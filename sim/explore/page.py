"""The report as one HTML file that needs nothing else: data, style and script are inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.attribution import MEANINGS
from sim.profile_pictures import COLOURS

from .candidate import Candidate, Judge
from .choice import Chosen
from .measurements import BLOCKS
from .metrics import METRICS
from .search import Result
from .tables import varied

__all__ = ["NOT_CONFIRMED", "ConfirmedTable", "report_page"]

_TEMPLATE = Path(__file__).parent / "page.html"


@dataclass(frozen=True)
class ConfirmedTable:
    """Predicted and real figures side by side, as text."""

    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


NOT_CONFIRMED = ConfirmedTable()


def report_page(
    judge: Judge,
    result: Result,
    chosen: Sequence[Chosen],
    *,
    title: str,
    caption: str,
    counts: str,
    confirmed: ConfirmedTable = NOT_CONFIRMED,
) -> str:
    """The page of a search."""
    space = judge.question.space
    places = {id(candidate): number for number, candidate in enumerate(result.front, 1)}
    content = {
        "title": title,
        "caption": caption,
        "counts": counts,
        "objectives": judge.question.objectives,
        "metrics": {
            name: {
                "short": metric.short,
                "label": metric.label,
                "digits": metric.digits,
                "maximized": metric.is_maximized,
            }
            for name, metric in METRICS.items()
        },
        "dimensions": [dimension.name for dimension in space.dimensions],
        "varied": varied(space, result.front or result.candidates),
        "limits": {"lut4": judge.board.lut4 / judge.model.placed_per_lut4},
        "blocks": BLOCKS,
        "causes": [
            {"name": cause.value, "meaning": meaning, "colour": COLOURS[cause]}
            for cause, meaning in MEANINGS.items()
        ],
        "candidates": [
            _candidate(candidate, places.get(id(candidate), 0)) for candidate in result.candidates
        ],
        "chosen": [_chosen(entry) for entry in chosen],
        "confirmed_headings": confirmed.headings,
        "confirmed": confirmed.rows,
    }
    # A browser looks for the end of a script, and for comments, inside strings, too.
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text)


def _candidate(candidate: Candidate, place: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "point": list(candidate.point.values()),
        "metrics": {name: float(f"{value:.7g}") for name, value in candidate.metrics.items()},
        "feasible": candidate.is_feasible,
        "front": place,
        "beyond": candidate.is_beyond_routed,
        "problems": candidate.problems,
    }
    if place and candidate.area is not None:
        entry["area"] = {block: round(luts, 1) for block, luts in candidate.area.lut4.items()}
    return entry


def _chosen(chosen: Chosen) -> dict[str, Any]:
    profile = chosen.profile
    return {
        "front": chosen.number,
        "name": profile.preset + (f", batches of {profile.batch}" if profile.batch > 1 else ""),
        "capacity": profile.binary_macs_per_cycle,
        "port": profile.port_bytes_per_cycle,
        "layers": [
            {
                "name": layer.name,
                "cycles": layer.cycles,
                "macs": layer.binary_macs,
                "bytes": layer.external_bytes,
                "used": round(layer.utilization, 4),
                "limit": layer.limit,
                "causes": [layer.causes[cause] for cause in MEANINGS],
            }
            for layer in profile.layers
        ],
    }
