"""What the parent process tells the simulated test bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.job import folders_in_environment, folders_of_environment


def test_folders_of_any_name_reach_the_test_bench_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("b", "a:b", "with space", "a")]
    for name, value in folders_in_environment(folders).items():
        monkeypatch.setenv(name, value)
    assert folders_of_environment() == folders


def test_relative_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in folders_in_environment([Path("run")]).items():
        monkeypatch.setenv(name, value)
    assert folders_of_environment() == [tmp_path / "run"]
