"""Training: exact resume, atomic checkpoints, schedule, augmentation, errors."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from golden import checkpoint
from golden.checkpoint import CheckpointError, load_network
from golden.data import Cifar10, Images, save_cifar10
from golden.progress import Progress
from golden.quantizers import ActivationEncoding, ActivationQuantizer, compare_and_sum
from golden.train import (
    TrainConfig,
    Trainer,
    TrainingError,
    augment,
    evaluate,
    parameter_groups,
    parse_arguments,
    train,
)
from golden.train_config import learning_rate


def coloured_images(count: int, seed: int) -> Images:
    """Noise images whose mean colour tells the class, so that a step or two learn something."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count, dtype=np.uint8)
    base = 20 + 20 * labels.astype(np.int64)[:, None, None, None]
    pixels = (base + rng.integers(-20, 20, (count, 32, 32, 3))).astype(np.uint8)
    return Images(pixels, labels)


@pytest.fixture(scope="module")
def tiny() -> Cifar10:
    return Cifar10(coloured_images(24, 1), coloured_images(10, 2))


def tiny_config(output: Path) -> TrainConfig:
    return TrainConfig(output, epochs=3, batch=8, compile=False, threads=1)


def tensors(content: object) -> list[Tensor]:
    """All tensors of nested dicts and lists, in order."""
    if isinstance(content, Tensor):
        return [content]
    if isinstance(content, dict):
        return [t for value in content.values() for t in tensors(value)]
    if isinstance(content, list):
        return [t for value in content for t in tensors(value)]
    return []


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, tiny: Cifar10) -> None:
    whole = tiny_config(tmp_path / "whole.pt")
    train(whole, tiny)
    broken = tiny_config(tmp_path / "broken.pt")
    trainer = Trainer(broken, tiny, lambda text: None)
    with Progress(Console(file=io.StringIO())) as progress:
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


def test_existing_output_is_not_overwritten(tmp_path: Path, tiny: Cifar10) -> None:
    config = tiny_config(tmp_path / "n.pt")
    config.output.write_bytes(b"precious")
    with pytest.raises(TrainingError, match="exists; resume it or choose another output"):
        train(config, tiny)
    assert config.output.read_bytes() == b"precious"


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


def test_warm_start_from_a_float_network(tmp_path: Path, tiny: Cifar10) -> None:
    float_config = replace(
        tiny_config(tmp_path / "float.pt"), epochs=1, weight_bits=None, activation_bits=None
    )
    train(float_config, tiny)
    config = replace(tiny_config(tmp_path / "q.pt"), init=float_config.output)
    network = Trainer(config, tiny, lambda text: None).network
    source = load_network(float_config.output)
    assert torch.equal(network.conv0.weight, source.conv0.weight)
    for own, other in zip(network.blocks(), source.blocks(), strict=True):
        assert torch.equal(own.conv2.weight, other.conv2.weight)
        assert torch.equal(own.bn1.weight, other.bn1.weight)


def test_warm_start_leaves_out_bases_of_another_width(tmp_path: Path, tiny: Cifar10) -> None:
    narrow = replace(tiny_config(tmp_path / "narrow.pt"), epochs=1)
    train(narrow, tiny)
    config = replace(tiny_config(tmp_path / "wide.pt"), activation_bits=3, init=narrow.output)
    network = Trainer(config, tiny, lambda text: None).network
    block = network.blocks()[4]
    assert isinstance(block.quant1, ActivationQuantizer)
    assert block.quant1.step.item() == 0
    assert block.conv1.weight_quant is not None
    assert block.conv1.weight_quant.step.item() == 3


def test_loss_that_is_not_finite_stops_with_the_last_checkpoint(
    tmp_path: Path, tiny: Cifar10
) -> None:
    config = replace(tiny_config(tmp_path / "n.pt"), epochs=2)
    trainer = Trainer(config, tiny, lambda text: None)
    with Progress(Console(file=io.StringIO())) as progress:
        trainer.epoch(progress)
        saved = config.output.read_bytes()
        with torch.no_grad():
            trainer.network.fc.weight.fill_(float("nan"))
        with pytest.raises(TrainingError, match=r"^loss must be finite, not nan at step 3;"):
            trainer.epoch(progress)
    assert config.output.read_bytes() == saved


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


KILLED_RUN = """
import sys
from pathlib import Path
from golden.train import TrainConfig, train
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


def test_learning_rate_is_one_cycle() -> None:
    rates = [learning_rate(step, 1000, 0.2, 0.15) for step in range(1001)]
    assert rates[0] == pytest.approx(0.008)
    assert rates[150] == pytest.approx(0.2)
    assert rates[:151] == sorted(rates[:151])
    assert rates[150:] == sorted(rates[150:], reverse=True)
    assert rates[575] == pytest.approx(0.1)
    assert rates[1000] == pytest.approx(0.0)


def test_augmentation_shifts_and_mirrors() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8, generator=generator)
    out = augment(pixels, generator)
    assert out.shape == pixels.shape
    assert out.dtype == torch.uint8
    padded = torch.full((64, 40, 40, 3), 128, dtype=torch.uint8)
    padded[:, 4:36, 4:36] = pixels
    found = []
    for source, image in zip(padded, out, strict=True):
        matches = [
            (row, column, mirrored)
            for row in range(9)
            for column in range(9)
            for mirrored in (False, True)
            if torch.equal(
                source[row : row + 32, column : column + 32].flip(1)
                if mirrored
                else source[row : row + 32, column : column + 32],
                image,
            )
        ]
        assert len(matches) == 1
        found += matches
    assert len({row for row, _, _ in found}) == 9
    assert len({column for _, column, _ in found}) == 9
    assert 16 < sum(mirrored for _, _, mirrored in found) < 48


def test_weight_decay_spares_normalization_and_biases(tmp_path: Path, tiny: Cifar10) -> None:
    network = Trainer(tiny_config(tmp_path / "n.pt"), tiny, lambda text: None).network
    decayed, free = parameter_groups(network, 1e-4)
    assert decayed["weight_decay"] == 1e-4
    assert free["weight_decay"] == 0
    assert len(decayed["params"]) == 20
    assert {p.dim() for p in free["params"]} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"^epochs must be positive, not 0$"),
        ({"batch": -1}, r"^batch must be positive, not -1$"),
        ({"peak_lr": 0.0}, r"^peak_lr must be positive, not 0.0$"),
        ({"rise": 1.0}, r"^rise must be in 0\.\.1, not 1.0$"),
    ],
)
def test_configuration_is_checked(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TrainConfig(Path("n.pt")), **change)


def test_batch_must_fit_the_data(tmp_path: Path, tiny: Cifar10) -> None:
    with pytest.raises(TrainingError, match=r"^batch must be at most 24, not 25$"):
        train(replace(tiny_config(tmp_path / "n.pt"), batch=25), tiny)


def test_without_a_compiler_training_goes_on(
    tmp_path: Path, tiny: Cifar10, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Tensor) -> None:
        raise RuntimeError("no C++ compiler found\nlong explanation")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: broken)
    lines: list[str] = []
    config = replace(tiny_config(tmp_path / "n.pt"), compile=True)
    trainer = Trainer(config, tiny, lines.append)
    assert lines == ["training without a C++ compiler, which is slower: no C++ compiler found"]
    assert trainer.network.blocks()[0].quant1.statistics is compare_and_sum


def test_command_line() -> None:
    line = (
        "resnet20 --weights float --activations 4 --encoding signed --epochs 5 --seed 9 "
        "--output a/b.pt --resume --no-compile"
    )
    config = parse_arguments(line.split())
    assert config == TrainConfig(
        Path("a/b.pt"),
        weight_bits=None,
        activation_bits=4,
        encoding=ActivationEncoding.SIGNED,
        epochs=5,
        seed=9,
        resume=True,
        compile=False,
    )


def test_progress_writes_plain_lines_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    now = 0.0
    monkeypatch.setattr("golden.progress.time.monotonic", lambda: now)
    with Progress(Console(file=file, soft_wrap=True)) as progress:
        progress.start(total=100, done=10)
        for step in range(11, 31):
            now += 10.0
            progress.update(step, loss=1.5, accuracy=0.25)
    assert file.getvalue().splitlines() == [
        "step 16/100  loss 1.5000  accuracy 25.0%  14 min left",
        "step 22/100  loss 1.5000  accuracy 25.0%  13 min left",
        "step 28/100  loss 1.5000  accuracy 25.0%  12 min left",
    ]
