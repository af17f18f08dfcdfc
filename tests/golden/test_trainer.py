"""A network in training: where it starts from, its optimizer, errors."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from golden import checkpoint
from golden.checkpoint import CheckpointError, load_network
from golden.data import Cifar10
from golden.quantizers import ActivationQuantizer
from golden.train import train
from golden.train_config import TrainConfig
from golden.trainer import parameter_groups
from golden.training_data import TrainingError
from tests.golden.training_runs import quiet, tiny_config, tiny_data, trainer_of


@pytest.fixture(scope="module")
def tiny() -> Cifar10:
    return tiny_data()


def test_existing_output_is_not_overwritten(tmp_path: Path, tiny: Cifar10) -> None:
    config = tiny_config(tmp_path / "n.pt")
    config.output.write_bytes(b"precious")
    with pytest.raises(TrainingError, match="exists; resume it or choose another output"):
        train(config, tiny)
    assert config.output.read_bytes() == b"precious"


def test_warm_start_from_a_float_network(tmp_path: Path, tiny: Cifar10) -> None:
    float_config = replace(
        tiny_config(tmp_path / "float.pt"), epochs=1, weight_bits=None, activation_bits=None
    )
    train(float_config, tiny)
    config = replace(tiny_config(tmp_path / "q.pt"), init=float_config.output)
    network = trainer_of(config, tiny).network
    source = load_network(float_config.output)
    assert torch.equal(network.conv0.weight, source.conv0.weight)
    for own, other in zip(network.blocks(), source.blocks(), strict=True):
        assert torch.equal(own.conv2.weight, other.conv2.weight)
        assert torch.equal(own.bn1.weight, other.bn1.weight)


def test_warm_start_leaves_out_bases_of_another_width(tmp_path: Path, tiny: Cifar10) -> None:
    narrow = replace(tiny_config(tmp_path / "narrow.pt"), epochs=1)
    train(narrow, tiny)
    config = replace(tiny_config(tmp_path / "wide.pt"), activation_bits=3, init=narrow.output)
    network = trainer_of(config, tiny).network
    block = network.blocks()[4]
    assert isinstance(block.quant1, ActivationQuantizer)
    assert block.quant1.step.item() == 0
    assert block.conv1.weight_quant is not None
    assert block.conv1.weight_quant.step.item() == 3


def test_loss_that_is_not_finite_stops_with_the_last_checkpoint(
    tmp_path: Path, tiny: Cifar10
) -> None:
    config = replace(tiny_config(tmp_path / "n.pt"), epochs=2)
    trainer = trainer_of(config, tiny)
    with quiet() as progress:
        trainer.epoch(progress)
        saved = config.output.read_bytes()
        with torch.no_grad():
            trainer.network.fc.weight.fill_(float("nan"))
        with pytest.raises(TrainingError, match=r"^loss must be finite, not nan at step 3;"):
            trainer.epoch(progress)
    assert config.output.read_bytes() == saved


def test_weight_decay_spares_normalization_and_biases(tmp_path: Path, tiny: Cifar10) -> None:
    network = trainer_of(tiny_config(tmp_path / "n.pt"), tiny).network
    decayed, free = parameter_groups(network, 1e-4)
    assert decayed["weight_decay"] == 1e-4
    assert free["weight_decay"] == 0
    assert len(decayed["params"]) == 20
    assert {p.dim() for p in free["params"]} == {1}


def test_batch_must_fit_the_data(tmp_path: Path, tiny: Cifar10) -> None:
    with pytest.raises(TrainingError, match=r"^batch must be at most 24, not 25$"):
        train(replace(tiny_config(tmp_path / "n.pt"), batch=25), tiny)


def test_quantizers_that_keep_their_basis_are_named_once(tmp_path: Path, tiny: Cifar10) -> None:
    lines: list[str] = []
    trainer = trainer_of(tiny_config(tmp_path / "n.pt"), tiny, lines)
    with torch.no_grad():
        trainer.network.bn0.weight.zero_()
    with quiet() as progress:
        trainer.epoch(progress)
        assert len(lines) == 1
        assert lines[0].startswith("too few levels in use to fit the basis")
        assert "stages.0.0.quant1" in lines[0]
        trainer.epoch(progress)
    assert sum("stages.0.0.quant1" in line for line in lines) == 1


def saved(config: TrainConfig, tiny: Cifar10) -> dict[str, Any]:
    trainer_of(config, tiny).save()
    return checkpoint.load(config.output)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model", {"conv0.weight": torch.zeros(3)}),
        ("optimizer", {"state": {}, "param_groups": []}),
        ("history", [{"epoch": 1}]),
    ],
)
def test_checkpoint_without_the_state_of_the_run(
    tmp_path: Path, tiny: Cifar10, part: str, value: object
) -> None:
    config = tiny_config(tmp_path / "n.pt")
    content = saved(config, tiny)
    content[part] = value
    checkpoint.save(config.output, content)
    with pytest.raises(CheckpointError, match=r"n\.pt must hold the state of such a run: "):
        trainer_of(replace(config, resume=True), tiny)


def test_resume_of_another_width_is_refused(tmp_path: Path, tiny: Cifar10) -> None:
    config = tiny_config(tmp_path / "n.pt")
    saved(config, tiny)
    other = replace(config, resume=True, weight_bits=None)
    message = r"^weight_bits must be 2 as in the checkpoint, not None$"
    with pytest.raises(TrainingError, match=message):
        trainer_of(other, tiny)


def test_full_disk_stops_with_the_last_checkpoint(
    tmp_path: Path, tiny: Cifar10, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path / "n.pt")
    trainer = trainer_of(config, tiny)
    with quiet() as progress:
        trainer.epoch(progress)
        before = config.output.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        message = r"must be writable: no space left on device; the one before is kept$"
        with pytest.raises(CheckpointError, match=message):
            trainer.epoch(progress)
    assert config.output.read_bytes() == before
