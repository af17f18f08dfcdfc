"""Example models: codes are well mixed, statistics are those of the images, seeds decide."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden.example_model import CALIBRATION_PASSES, calibrate, calibrated_network, example_images
from golden.export import export_model
from golden.network import LqNetwork
from golden.networks import NETWORKS
from golden.quantizers import ActivationEncoding, ActivationQuantizer, WeightQuantizer
from golden.vgg_small import VggSmall

UNSIGNED, SIGNED = ActivationEncoding


def bit_shares(codes: Tensor, bits: int) -> list[float]:
    """Share of ones in each plane."""
    return [float((codes >> plane & 1).double().mean()) for plane in range(bits)]


def activation_shares(network: LqNetwork, images: np.ndarray) -> dict[str, list[float]]:
    """Share of ones in each plane of each activation tensor."""
    shares: dict[str, list[float]] = {}

    def record(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, ActivationQuantizer)
            shares[name] = bit_shares(module.codes(inputs[0]), module.bits)

        modules[name].register_forward_hook(hook)

    modules = dict(network.named_modules())
    for name, module in modules.items():
        if isinstance(module, ActivationQuantizer):
            record(name)
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2))
    return shares


@pytest.mark.parametrize(
    ("bits", "encoding"),
    [
        ((1, 1), UNSIGNED),
        ((1, 2), SIGNED),
        ((2, 2), UNSIGNED),
        ((3, 3), UNSIGNED),
        ((4, 4), SIGNED),
    ],
)
@pytest.mark.parametrize(("name", "quantizers"), [("vgg-small", 5), ("resnet20", 18)])
def test_no_plane_is_constant(
    name: str, quantizers: int, bits: tuple[int, int], encoding: ActivationEncoding
) -> None:
    network = calibrated_network(name, *bits, encoding, image_size=8)
    shares = activation_shares(network, example_images(network.image_shape, seed=2))
    assert len(shares) == quantizers
    for tensor, planes in shares.items():
        assert len(planes) == bits[1]
        assert all(0.03 < share < 0.97 for share in planes), (tensor, planes)
    for module in network.modules():
        quantizer = getattr(module, "weight_quant", None)
        if isinstance(quantizer, WeightQuantizer):
            planes = bit_shares(quantizer.codes(module.weight), bits[0])
            assert all(0.3 < share < 0.7 for share in planes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].classes == 1000])
def test_no_plane_is_constant_in_any_network(name: str) -> None:
    network = calibrated_network(name, 1, 2, image_size=67 if name == "alexnet" else 64)
    shares = activation_shares(network, example_images(network.image_shape, seed=2))
    assert len(shares) >= 6
    for tensor, planes in shares.items():
        assert all(0.03 < share < 0.97 for share in planes), (tensor, planes)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((3, 3, 4)):
        network = calibrated_network("resnet20", 2, 2, seed=seed, image_size=8)
        path = tmp_path / f"{number}.onnx"
        export_model(network, path, calibration_images=example_images((8, 8, 3), seed=seed))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_example_models_leave_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    calibrated_network("resnet20", 1, 1, image_size=8)
    assert torch.equal(torch.rand(3), expected)


def test_statistics_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    network = VggSmall(2, 2, widths=(8, 8, 8), image_size=16)
    images = example_images((16, 16, 3), 4)
    momenta = [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    told: list[None] = []
    calibrate(network, images, progress=lambda: told.append(None))
    assert len(told) == CALIBRATION_PASSES
    assert not network.training
    assert [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)] == momenta
    with torch.no_grad():
        values = network.conv0(network.pixels(torch.from_numpy(images).permute(0, 3, 1, 2)))
    norm = network.norm1.bn
    torch.testing.assert_close(norm.running_mean, values.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, values.var(dim=(0, 2, 3)))


def test_bases_hardly_move_in_a_further_pass() -> None:
    bases: list[dict[str, Tensor]] = []
    for passes in (CALIBRATION_PASSES, CALIBRATION_PASSES + 1):
        torch.manual_seed(0)
        network = VggSmall(2, 2, widths=(16, 16, 16), image_size=16)
        calibrate(network, example_images((16, 16, 3)), passes=passes)
        buffers = network.named_buffers()
        bases.append({name: value for name, value in buffers if name.endswith("basis")})
    assert len(bases[0]) == 10
    for name, basis in bases[0].items():
        torch.testing.assert_close(bases[1][name], basis, rtol=0.1, atol=0.01)


def test_bases_start_from_the_size_of_the_values() -> None:
    """Without that, all values on the top level would leave nothing to fit the other planes."""
    torch.manual_seed(0)
    network = VggSmall(2, 3, widths=(8, 8, 8), image_size=16)
    nn.init.constant_(network.norm1.bn.weight, 1000.0)
    calibrate(network, example_images((16, 16, 3)))
    shares = activation_shares(network, example_images((16, 16, 3)))["norm1.quant"]
    assert all(0.1 < share < 0.5 for share in shares)


def test_example_images_are_mixed() -> None:
    images = example_images((20, 30, 3), 5, seed=7)
    assert images.shape == (5, 20, 30, 3)
    assert images.dtype == np.uint8
    assert images.std() > 40
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images, example_images((20, 30, 3), 5, seed=7))
