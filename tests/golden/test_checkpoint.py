"""Checkpoint files: replaced whole, damaged ones refused."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from golden import checkpoint
from golden.checkpoint import CheckpointError


def content(values: int, size: int = 1000) -> dict[str, Any]:
    return {"config": {}, "model": {"w": torch.full((size,), float(values))}}


def value(path: Path) -> float:
    return checkpoint.load(path)["model"]["w"][0].item()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets no file grow beyond ``size`` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "n.pt"
    checkpoint.save(path, content(1))
    message = rf"^checkpoint {path} must be writable: file too large; the one before is kept$"
    with largest_file(20_000), pytest.raises(CheckpointError, match=message):
        checkpoint.save(path, content(2, size=100_000))
    assert value(path) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["n.pt"]
    checkpoint.save(path, content(3))
    assert value(path) == 3


def test_a_full_disk_before_the_first_checkpoint(tmp_path: Path) -> None:
    message = r"/n\.pt must be writable: file too large$"
    with largest_file(20_000), pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path / "n.pt", content(2, size=100_000))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"/file/n\.pt must be writable: (not a directory|file exists)$"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path / "file" / "n.pt", content(1))


KILLED_SAVE = """
import os, sys, time
from pathlib import Path
import torch
from golden import checkpoint

def stop(descriptor):
    print("written", flush=True)
    time.sleep(600)

os.fsync = stop
checkpoint.save(Path(sys.argv[1]), {"config": {}, "model": {"w": torch.full((1000,), 2.0)}})
"""


@pytest.mark.timeout(120)
def test_killed_while_saving_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "n.pt"
    checkpoint.save(path, content(1))
    command = [sys.executable, "-c", KILLED_SAVE, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # All is written, but under the temporary name.
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["n.pt", "n.pt.partial"]
    assert value(path) == 1
    checkpoint.save(path, content(3))
    assert value(path) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["n.pt"]


@pytest.mark.parametrize("damaged", [b"", b"garbage", b"PK\x03\x04broken"])
def test_damaged_checkpoint(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "n.pt"
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="must be a checkpoint of this program"):
        checkpoint.load(path)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "n.pt"
    checkpoint.save(path, content(0))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="must be a checkpoint of this program"):
        checkpoint.load(path)


def test_missing_and_foreign_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^there is no checkpoint "):
        checkpoint.load(tmp_path / "none.pt")
    torch.save({"format": 99}, tmp_path / "later.pt")
    with pytest.raises(CheckpointError, match="must be a checkpoint of format 1, not 99"):
        checkpoint.load(tmp_path / "later.pt")
    torch.save({"format": 1, "config": {}}, tmp_path / "half.pt")
    with pytest.raises(CheckpointError, match=r"half\.pt must be a checkpoint with a model$"):
        checkpoint.load(tmp_path / "half.pt")
