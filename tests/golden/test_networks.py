"""The registry of networks, and checkpoints that name the network they hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from golden import checkpoint
from golden.accuracy import evaluate
from golden.checkpoint import CheckpointError, load_network
from golden.data import Cifar10, Images
from golden.networks import NETWORKS, UnknownNetwork, build_network
from golden.quantizers import ActivationEncoding
from golden.train import train
from golden.train_config import TrainConfig
from golden.training_data import TrainingError
from golden.vgg_small import VggSmall
from tests.golden.training_runs import trainer_of


def noise(count: int) -> Images:
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.uint8) % 10)


@pytest.fixture(scope="module")
def data() -> Cifar10:
    return Cifar10(noise(4), noise(2))


def config_of(output: Path, network: str) -> TrainConfig:
    return TrainConfig(output, network=network, epochs=1, batch=4, compile=False, threads=1)


def saved(config: TrainConfig, data: Cifar10) -> Path:
    """Checkpoint of a run before its first epoch."""
    trainer_of(config, data).save()
    return config.output


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_what_the_registry_says(name: str) -> None:
    entry = NETWORKS[name]
    with torch.device("meta"):
        network = build_network(name, 2, 3, ActivationEncoding.SIGNED)
    assert network.name == name
    assert network.image_shape == (entry.image_size, entry.image_size, 3)
    assert network.classes == entry.classes
    assert (network.weight_bits, network.activation_bits) == (2, 3)
    assert network.encoding is ActivationEncoding.SIGNED


def test_unknown_networks_are_refused_with_the_known_ones() -> None:
    known = ", ".join(NETWORKS)
    with pytest.raises(UnknownNetwork, match=f"^network must be one of {known}, not 'lenet'$"):
        build_network("lenet", 2, 2)


@pytest.mark.parametrize(("weights", "activations"), [(0, 2), (9, 2), (2, 0), (2, 9)])
def test_impossible_widths_are_refused(weights: int, activations: int) -> None:
    with pytest.raises(ValueError, match=r"_bits must be in 1\.\.8 or None, not [09]$"):
        build_network("vgg-small", weights, activations)


def test_checkpoint_gives_the_network_that_was_trained(tmp_path: Path, data: Cifar10) -> None:
    config = replace(config_of(tmp_path / "v.pt", "vgg-small"), activation_bits=3)
    result = train(config, data)
    network = load_network(config.output)
    assert isinstance(network, VggSmall)
    assert (network.weight_bits, network.activation_bits) == (2, 3)
    assert evaluate(network, data.test) == result.accuracy


def test_checkpoint_of_another_network_is_refused(tmp_path: Path, data: Cifar10) -> None:
    path = saved(config_of(tmp_path / "v.pt", "vgg-small"), data)
    resumed = replace(config_of(path, "resnet20"), resume=True)
    with pytest.raises(TrainingError, match=r"^network must be vgg-small as in the checkpoint, no"):
        trainer_of(resumed, data)
    warm = replace(config_of(tmp_path / "r.pt", "resnet20"), init=path)
    with pytest.raises(CheckpointError, match=r"v\.pt must hold a resnet20, not a vgg-small$"):
        trainer_of(warm, data)


def test_checkpoint_of_another_width_is_refused(tmp_path: Path, data: Cifar10) -> None:
    path = saved(config_of(tmp_path / "v.pt", "vgg-small"), data)
    content = checkpoint.load(path)
    content["model"]["conv2.weight"] = content["model"]["conv2.weight"][:, :64]
    checkpoint.save(path, content)
    warm = replace(config_of(tmp_path / "w.pt", "vgg-small"), init=path)
    message = (
        r"v\.pt must hold conv2\.weight of the shape \[256, 128, 3, 3\], not \[256, 64, 3, 3\]$"
    )
    with pytest.raises(CheckpointError, match=message):
        trainer_of(warm, data)
    with pytest.raises(
        CheckpointError, match=r"(?s)v\.pt does not fit its own configuration: .*conv2"
    ):
        load_network(path)


def test_checkpoint_of_an_unknown_network_is_refused(tmp_path: Path, data: Cifar10) -> None:
    path = saved(config_of(tmp_path / "v.pt", "resnet20"), data)
    content = checkpoint.load(path)
    content["config"]["network"] = "later"
    checkpoint.save(path, content)
    with pytest.raises(CheckpointError, match=r"v\.pt: network must be one of .*, not 'later'$"):
        load_network(path)


def test_checkpoint_from_before_other_sizes_and_classes(tmp_path: Path, data: Cifar10) -> None:
    path = saved(config_of(tmp_path / "v.pt", "vgg-small"), data)
    content = checkpoint.load(path)
    del content["config"]["classes"], content["config"]["image_size"]
    checkpoint.save(path, content)
    assert load_network(path).image_shape == (32, 32, 3)
    trainer_of(replace(config_of(path, "vgg-small"), resume=True), data)
