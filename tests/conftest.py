"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sim.bench import BUILDS


@pytest.fixture(scope="session", autouse=True)
def _shared_builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Designs that many modules simulate are compiled once, for all worker processes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUILDS, str(base / "builds"))
        yield
