"""Two processes on CPUs train as one does on whole batches."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from golden import checkpoint
from golden.distributed import DeviceError, Ranks, choose_device
from golden.training_data import TrainingError
from tests.golden.training_processes import train_process
from tests.golden.training_runs import tensors, tiny_config, tiny_data, trainer_of

REPOSITORY = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

Run = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process left, and two that went on from the same first epoch."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    train_process(one, 1)
    shutil.copy(one / "n.pt", two)
    train_process(one, 3)
    command = [*TORCHRUN, "-m", "tests.golden.training_processes", str(two), "3"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert lines == [f"resumed {two}/n.pt after epoch 1", "epoch 2/3", "epoch 3/3"]
    return one, two


@pytest.fixture(scope="module")
def runs(folders: tuple[Path, Path]) -> list[Run]:
    """State of the one process, and of each of the two."""
    one, two = folders
    return [torch.load(one / "rank-0.pt")] + [torch.load(two / f"rank-{i}.pt") for i in range(2)]


def test_both_processes_have_the_same_state_bit_for_bit(runs: list[Run]) -> None:
    for part in ("model", "optimizer", "counts"):
        pairs = list(zip(tensors(runs[1][part]), tensors(runs[2][part]), strict=True))
        assert len(pairs) > 50
        assert all(torch.equal(a, b) for a, b in pairs)
    assert runs[1]["losses"] == runs[2]["losses"]


def test_bases_are_fitted_to_the_same_counts_as_in_one_process(runs: list[Run]) -> None:
    # 2 epochs of 3 steps, 18 quantizers of activations and 18 of weights.
    assert len(runs[0]["counts"]) == len(runs[1]["counts"]) == 2 * 3 * (18 + 18)
    assert all(torch.equal(a, b) for a, b in zip(runs[0]["counts"], runs[1]["counts"], strict=True))


def test_parameters_and_bases_are_those_of_one_process_up_to_rounding(runs: list[Run]) -> None:
    one, two = runs[0]["model"], runs[1]["model"]
    assert one.keys() == two.keys()
    for name in one:
        # Float64 sums in another order.
        assert torch.allclose(one[name], two[name], rtol=1e-9, atol=1e-12), name
    assert runs[0]["losses"] == pytest.approx(runs[1]["losses"], rel=1e-12)
    assert runs[0]["accuracies"] == runs[1]["accuracies"]


def test_the_first_process_alone_writes(folders: tuple[Path, Path], runs: list[Run]) -> None:
    two = folders[1]
    assert sorted(path.name for path in two.iterdir()) == ["logs", "n.pt", "rank-0.pt", "rank-1.pt"]
    assert len(list((two / "logs").iterdir())) == 1
    saved = checkpoint.load(two / "n.pt")
    assert saved["model"].keys() == runs[0]["model"].keys()
    assert all(torch.equal(saved["model"][name], runs[1]["model"][name]) for name in saved["model"])


@pytest.mark.slow
def test_errors_of_the_first_process_end_all(tmp_path: Path) -> None:
    (tmp_path / "n.pt").write_bytes(b"precious")
    arguments = ["resnet20", "--output", str(tmp_path / "n.pt"), "--data", str(tmp_path)]
    command = [*TORCHRUN, "-m", "golden.train", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: there is no {tmp_path}/cifar10.npz; `make data` fetches CIFAR-10"]


def test_shares_are_in_order_and_complete() -> None:
    assert [Ranks(rank, 3).share(9) for rank in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 9)]
    assert [Ranks(rank, 3).share(2) for rank in range(3)] == [slice(0, 0), slice(0, 1), slice(1, 2)]


def test_batch_must_be_shared_evenly(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^batch must be a multiple of the 3 processes, not 8"):
        trainer_of(tiny_config(tmp_path / "n.pt"), tiny_data(), ranks=Ranks(0, 3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_is_used() -> None:
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"^device must be cpu, not cuda: torch finds no GPU her"):
        choose_device("cuda")
