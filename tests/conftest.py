"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.bench import BUILDS

LONG = ("bitstream", "slow")
"""Marks of long tests, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: at the end no process shall wait for one of them."""
    ranks: dict[Path, int] = {}
    for item in items:
        marks = [rank for rank, name in enumerate(LONG) if item.get_closest_marker(name)]
        ranks[item.path] = min([ranks.get(item.path, len(LONG)), *marks])
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(scope="session", autouse=True)
def _shared_builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Designs that many modules simulate are compiled once, for all worker processes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUILDS, str(base / "builds"))
        yield
