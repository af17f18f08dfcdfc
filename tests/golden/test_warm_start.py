"""Warm start from an exported model: the network computes what the model does."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from golden.checkpoint import CheckpointError, take_over
from golden.exact_export import exact_model
from golden.example_model import calibrated_network, example_images
from golden.export import export_model, write_model
from golden.network import LqNetwork
from golden.networks import build_network
from golden.quantizers import ActivationEncoding
from golden.warm_start import starting_tensors


def logits(network: LqNetwork) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    height, width, channels = network.image_shape
    pixels = torch.randint(0, 256, (4, channels, height, width), generator=generator)
    with torch.no_grad():
        return network.eval()(pixels.to(torch.uint8))


def exported(path: Path, name: str, size: int, weights: int | None, activations: int | None):
    network = calibrated_network(name, weights, activations, image_size=size)
    export_model(network, path)
    return network


@pytest.mark.parametrize(
    ("name", "size", "weights", "activations"),
    [
        ("resnet20", 16, 2, 2),
        ("resnet20", 16, None, None),
        ("resnet18", 64, 3, 1),
        ("vgg-variant", 32, 1, 2),  # normalization over a whole layer
    ],
)
def test_a_network_goes_on_from_what_the_model_computes(tmp_path, name, size, weights, activations):
    path = tmp_path / "model.onnx"
    source = exported(path, name, size, weights, activations)
    encoding = ActivationEncoding.UNSIGNED
    network = build_network(name, weights, activations, encoding, image_size=size)
    tensors = starting_tensors(path, network)
    assert set(tensors) == set(network.state_dict())
    taken = take_over(network, tensors)
    assert taken == len(tensors)
    assert torch.equal(logits(network), logits(source))


def test_a_wider_network_takes_the_weights_and_learns_its_own_bases(tmp_path):
    path = tmp_path / "model.onnx"
    source = exported(path, "resnet20", 16, 2, 2)
    network = build_network("resnet20", 3, 2, ActivationEncoding.UNSIGNED, image_size=16)
    take_over(network, starting_tensors(path, network))
    block, other = network.get_submodule("stages.1.1"), source.get_submodule("stages.1.1")
    levels = other.conv1.weight_quant.levels()
    assert bool((block.conv1.weight.flatten(1)[..., None] == levels[:, None]).any(-1).all())
    assert block.conv1.weight_quant.step.item() == 0
    assert torch.equal(block.quant1.basis, other.quant1.basis)


def test_files_that_are_no_start(tmp_path):
    network = build_network("resnet20", 2, 2, ActivationEncoding.UNSIGNED)
    path = tmp_path / "model.onnx"
    with pytest.raises(CheckpointError, match=r"model\.onnx must be an exported model: .*No such"):
        starting_tensors(path, network)
    path.write_bytes(np.random.default_rng(1).bytes(100))
    with pytest.raises(CheckpointError, match=r"model\.onnx must be an exported model"):
        starting_tensors(path, network)
    exported(path, "vgg-small", 16, 1, 1)
    with pytest.raises(CheckpointError, match="must hold a resnet20, not a vgg-small"):
        starting_tensors(path, network)


def test_an_exact_model_has_its_statistics_measured(tmp_path):
    """Evaluation stays what it was, and training finds normal inputs again."""
    path, exact = tmp_path / "model.onnx", tmp_path / "exact.onnx"
    source = exported(path, "resnet20", 16, 2, 2)
    images = example_images(source.image_shape, 64)
    write_model(exact_model(onnx.load_model(path), images), exact)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    network = build_network("resnet20", 2, 2, ActivationEncoding.UNSIGNED, image_size=16)
    plain = copy.deepcopy(network)
    take_over(plain, starting_tensors(exact, plain))
    take_over(network, starting_tensors(exact, network, lambda: pixels))
    with torch.no_grad():
        scores = [net.eval()(pixels) for net in (plain, network)]
    # Factors are float32, and a level may change where a value lies on a threshold.
    same = torch.isclose(*scores, rtol=1e-4, atol=1e-4).float().mean()
    assert same > 0.95
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    seen = {}
    for norm in norms:
        norm.register_forward_hook(lambda m, _, out: seen.__setitem__(m, out.clone()))
    with torch.no_grad():
        network.train()(pixels)
    for norm in norms:
        deviation, mean = torch.std_mean(seen[norm], dim=(0, 2, 3))
        torch.testing.assert_close(mean, norm.bias, rtol=0, atol=0.05)
        torch.testing.assert_close(deviation, norm.weight.abs(), rtol=0.05, atol=0.01)


def test_an_exact_model_cannot_start_a_network_that_normalizes_layers(tmp_path):
    path, exact = tmp_path / "model.onnx", tmp_path / "exact.onnx"
    source = exported(path, "vgg-variant", 32, 1, 2)
    images = example_images(source.image_shape, 4)
    write_model(exact_model(onnx.load_model(path), images), exact)
    network = build_network("vgg-variant", 1, 2, ActivationEncoding.UNSIGNED, image_size=32)
    with pytest.raises(CheckpointError, match="must be exported without --exact"):
        starting_tensors(exact, network, lambda: torch.from_numpy(images).permute(0, 3, 1, 2))
