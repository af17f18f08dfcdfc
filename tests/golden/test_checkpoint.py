"""Checkpoint files: replaced whole, damaged ones refused."""

import io
from pathlib import Path

import pytest
import torch

from golden import checkpoint
from golden.checkpoint import CheckpointError


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.pt"
    checkpoint.save(path, {"history": [1]})

    def fail(content: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError("disk is full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk is full"):
        checkpoint.save(path, {"history": [1, 2]})
    assert checkpoint.load(path)["history"] == [1]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04broken"])
def test_damaged_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="must be a checkpoint of this program"):
        checkpoint.load(path)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "n.pt"
    checkpoint.save(path, {"model": {"w": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="must be a checkpoint of this program"):
        checkpoint.load(path)


def test_missing_and_foreign_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^there is no checkpoint "):
        checkpoint.load(tmp_path / "none.pt")
    torch.save({"format": 99}, tmp_path / "later.pt")
    with pytest.raises(CheckpointError, match="must be a checkpoint of format 1, not 99"):
        checkpoint.load(tmp_path / "later.pt")
