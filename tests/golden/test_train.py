"""Training runs: exact resume, warm start, a killed process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from golden import checkpoint
from golden.accuracy import evaluate
from golden.checkpoint import load_network
from golden.data import Cifar10, save_cifar10
from golden.quantizers import ActivationEncoding
from golden.train import train
from golden.training_data import TrainingError
from tests.golden.training_runs import (
    coloured_images,
    quiet,
    tensors,
    tiny_config,
    tiny_data,
    trainer_of,
)


@pytest.fixture(scope="module")
def tiny() -> Cifar10:
    return tiny_data()


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, tiny: Cifar10) -> None:
    whole = tiny_config(tmp_path / "whole.pt")
    train(whole, tiny)
    broken = tiny_config(tmp_path / "broken.pt")
    trainer = trainer_of(broken, tiny)
    with quiet() as progress:
        trainer.epoch(progress)
    del trainer
    torch.manual_seed(999)
    torch.rand(7)
    result = train(replace(broken, resume=True), tiny)
    assert len(result.history) == 3
    first, second = checkpoint.load(whole.output), checkpoint.load(broken.output)
    for part in ("model", "optimizer"):
        pairs = list(zip(tensors(first[part]), tensors(second[part]), strict=True))
        assert len(pairs) > 50
        assert all(torch.equal(a, b) for a, b in pairs)
    losses = [[entry["loss"] for entry in content["history"]] for content in (first, second)]
    assert losses[0] == losses[1]


def test_checkpoint_gives_the_trained_network(tmp_path: Path, tiny: Cifar10) -> None:
    config = replace(
        tiny_config(tmp_path / "n.pt"),
        epochs=1,
        weight_bits=1,
        activation_bits=3,
        encoding=ActivationEncoding.SIGNED,
    )
    result = train(config, tiny)
    network = load_network(config.output)
    assert not network.training
    assert (network.weight_bits, network.activation_bits) == (1, 3)
    assert network.encoding is ActivationEncoding.SIGNED
    assert evaluate(network, tiny.test) == result.accuracy


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    data = Cifar10(coloured_images(96, 1), coloured_images(10, 2))
    config = replace(tiny_config(tmp_path / "n.pt"), epochs=4, batch=16)
    losses = [entry.loss for entry in train(config, data).history]
    assert losses[-1] < 0.8 * losses[0]


def test_resume_refuses_another_configuration(tmp_path: Path, tiny: Cifar10) -> None:
    config = replace(tiny_config(tmp_path / "n.pt"), epochs=1)
    train(config, tiny)
    other = replace(config, resume=True, epochs=2, seed=5)
    with pytest.raises(TrainingError, match=r"^seed must be 1 as in the checkpoint, not 5$"):
        train(other, tiny)


def test_resume_of_a_finished_run_trains_nothing(tmp_path: Path, tiny: Cifar10) -> None:
    config = replace(tiny_config(tmp_path / "n.pt"), epochs=1)
    first = train(config, tiny)
    content = config.output.read_bytes()
    assert train(replace(config, resume=True), tiny) == first
    assert config.output.read_bytes() == content


KILLED_RUN = """
import sys
from pathlib import Path
from golden.train import train
from golden.train_config import TrainConfig
train(TrainConfig(Path(sys.argv[1]), epochs=10_000, batch=8, compile=False, threads=1,
                  data=Path(sys.argv[2]), resume=True))
"""


@pytest.mark.timeout(120)
def test_killed_process_leaves_a_whole_checkpoint(tmp_path: Path, tiny: Cifar10) -> None:
    save_cifar10(tiny, tmp_path)
    output = tmp_path / "n.pt"
    command = [sys.executable, "-c", KILLED_RUN, str(output), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline().startswith("epoch ")
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(checkpoint.load(output)["history"])
    assert done >= 2
    config = replace(tiny_config(output), epochs=done + 1, resume=True)
    assert len(train(config, tiny).history) == done + 1
