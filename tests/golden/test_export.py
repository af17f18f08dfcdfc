"""Export: stock onnxruntime computes what the float network computes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from golden import checkpoint
from golden.calibration import measure_ranges, model_session, round_up
from golden.export import export_model, model_bytes, network_model, round_full_precision
from golden.float_weights import (
    fewest_planes,
    fit_float_weights,
    float_weight_planes,
    round_float_weights,
    rounded_weights,
)
from golden.graph_builder import GraphBuilder
from golden.networks import build_network
from golden.quantizers import ActivationEncoding
from golden.resnet20 import ResNet20
from host.cli import cli

LABELS = tuple("abcdefghij")


def trained_network(
    weight_bits: int | None, activation_bits: int | None, encoding: ActivationEncoding
) -> ResNet20:
    """A network whose quantizers and statistics saw a few batches of noise."""
    torch.manual_seed(weight_bits or 0)
    network = ResNet20(weight_bits, activation_bits, encoding)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> ResNet20:
    return trained_network(2, 2, ActivationEncoding.UNSIGNED)


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    return np.asarray(model_session(content).run(None, {"images": images})[0])


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "encoding"),
    [
        (2, 2, ActivationEncoding.UNSIGNED),
        (1, 3, ActivationEncoding.SIGNED),
        (3, 1, ActivationEncoding.UNSIGNED),
        (2, None, ActivationEncoding.UNSIGNED),
        (None, None, ActivationEncoding.UNSIGNED),
    ],
)
def test_onnxruntime_gives_the_logits_of_torch(
    weight_bits: int | None, activation_bits: int | None, encoding: ActivationEncoding
) -> None:
    network = trained_network(weight_bits, activation_bits, encoding)
    images = random_pixels(3)
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    logits = run(model_bytes(network_model(network)), images)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_file_is_valid_small_and_reproducible(network: ResNet20, tmp_path: Path) -> None:
    images = random_pixels(4)
    paths = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    for path in paths:
        export_model(network, path, labels=LABELS, calibration_images=images)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) < 150_000
    onnx.checker.check_model(onnx.load_model_from_string(first), full_check=True)


def test_metadata(network: ResNet20, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    images = random_pixels(4)
    export_model(network, path, labels=LABELS, calibration_images=images)
    model = onnx.load_model_from_string(path.read_bytes())
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["lqnets_format"] == "1"
    assert json.loads(metadata["labels"]) == list(LABELS)
    assert (metadata["weight_bits"], metadata["activation_bits"]) == ("2", "2")
    ranges = json.loads(metadata["ranges"])
    largest = np.abs(run(path.read_bytes(), images)).max()
    assert largest <= ranges["fc"] <= 1.01 * largest
    assert "stage0.block0.quant1" not in ranges


def test_unknown_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^network must be an LqNetwork, not Linear$"):
        export_model(nn.Linear(1, 1), tmp_path / "model.onnx")


def quantized_model(
    build: Callable[[GraphBuilder], str], image: tuple[int, int, int] = (6, 5, 3)
) -> bytes:
    builder = GraphBuilder("test", image)
    return model_bytes(builder.model(build(builder)))


@pytest.mark.parametrize("bits", range(1, 9))
def test_quantized_convolution(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (4, 3, 3, 2))
    basis = rng.normal(0, 1, (bits, 4)).astype(np.float32)
    bias = rng.normal(0, 1, 4).astype(np.float32)
    content = quantized_model(
        lambda b: b.quantized_convolution(
            "y", b.image, codes, basis, bias, stride=(2, 1), padding=(0, 1, 2, 0)
        )
    )
    images = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 128
    signs = 2.0 * ((codes >> np.arange(bits).reshape(-1, 1, 1, 1, 1)) & 1) - 1
    weight = (signs * basis.astype(np.float64)[:, :, None, None, None]).sum(axis=0)
    expected = functional.conv2d(
        functional.pad(x, (1, 0, 0, 2)),
        torch.from_numpy(weight).float(),
        torch.from_numpy(bias),
        (2, 1),
    )
    np.testing.assert_allclose(run(content, images), expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("bits", range(1, 9))
def test_quantized_linear(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (5, 90))
    basis = rng.normal(0, 0.2, (bits, 5)).astype(np.float32)
    content = quantized_model(
        lambda b: b.quantized_linear("y", b.flatten("flat", b.image), codes, basis)
    )
    images = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    x = ((images.transpose(0, 3, 1, 2) - 128.0) / 128).reshape(2, -1)
    signs = 2.0 * ((codes >> np.arange(bits).reshape(-1, 1, 1)) & 1) - 1
    weight = (signs * basis.astype(np.float64)[:, :, None]).sum(axis=0)
    np.testing.assert_allclose(run(content, images), x @ weight.T, rtol=0, atol=1e-4)


@pytest.mark.parametrize("encoding", ["unsigned", "signed"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_learned_activation_with_unordered_basis(bits: int, encoding: str) -> None:
    rng = np.random.default_rng(bits)
    basis = rng.uniform(0, 1, bits).astype(np.float32)
    content = quantized_model(lambda b: b.learned_activation("y", b.image, basis, encoding))
    images = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    x = ((images.transpose(0, 3, 1, 2) - 128.0) / 128).astype(np.float32)
    table = (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1
    if encoding == "signed":
        table = 2 * table - 1
    levels = np.sort((table @ basis.astype(np.float64)).astype(np.float32))
    thresholds = (levels[1:] + levels[:-1]) / np.float32(2)
    expected = levels[(x[..., None] > thresholds).sum(axis=-1)]
    np.testing.assert_array_equal(run(content, images), expected)


def test_a_tie_takes_the_lower_level() -> None:
    content = quantized_model(
        lambda b: b.learned_activation("y", b.image, np.array([0.5], np.float32), "unsigned"),
        image=(1, 3, 1),
    )
    images = np.array([[[[160 - 1], [160], [160 + 1]]]], dtype=np.uint8)
    assert run(content, images).ravel().tolist() == [0.0, 0.0, 0.5]


def test_names_are_unique() -> None:
    builder = GraphBuilder("test", (2, 2, 1))
    builder.relu("x", builder.image)
    with pytest.raises(ValueError, match=r"^node name must be unique, not 'x' again$"):
        builder.relu("x", builder.image)


@pytest.mark.parametrize("bits", range(1, 9))
def test_float_weights_as_planes(bits: int) -> None:
    values = np.random.default_rng(bits).normal(0, 1, (6, 4, 3, 3))
    values[2] = 0
    planes, basis = float_weight_planes(values, bits)
    rounded = round_float_weights(values, bits)
    step = np.abs(values).reshape(6, -1).max(axis=1) / (2**bits - 1)
    assert planes.shape == (bits, *values.shape)
    np.testing.assert_allclose(basis, step * 2.0 ** np.arange(bits)[:, None])
    assert (np.abs(rounded - values) <= step.reshape(-1, 1, 1, 1) * (1 + 1e-9)).all()
    np.testing.assert_allclose(round_float_weights(rounded, bits), rounded, atol=1e-12)


@pytest.mark.parametrize("bits", range(1, 9))
def test_fewest_planes_are_those_that_weights_were_rounded_to(bits: int) -> None:
    values = np.random.default_rng(bits).normal(0, 1, (6, 4, 3, 3))
    values[2], values[3] = 0, 1e-9 * values[3]
    for rounded in (round_float_weights(values, bits), fit_float_weights(values, bits)):
        stored = rounded.astype(np.float32).astype(np.float64)
        assert fewest_planes(stored, 8) == bits
        planes, basis = float_weight_planes(stored, bits)
        np.testing.assert_array_equal(planes, float_weight_planes(rounded, bits)[0])
        np.testing.assert_allclose(basis, float_weight_planes(rounded, bits)[1], rtol=2.0**-23)


def test_weights_of_all_planes_keep_them() -> None:
    values = np.random.default_rng(1).normal(0, 1, (2, 50))
    assert fewest_planes(values, 8) == 8
    assert fewest_planes(values, 5) == 5
    # One channel alone decides nothing.
    assert fewest_planes(np.concatenate([np.ones((1, 50)), values]), 8) == 8


@pytest.mark.parametrize("bits", range(1, 6))
def test_fitted_weights_are_nearer_than_rounded_ones(bits: int) -> None:
    values = np.random.default_rng(bits).normal(0, 1, (6, 4, 3, 3))

    def errors(weights: np.ndarray) -> np.ndarray:
        return ((weights - values) ** 2).sum(axis=(1, 2, 3))

    fitted, rounded = (errors(f(values, bits)) for f in (fit_float_weights, round_float_weights))
    assert (fitted <= rounded).all()
    assert fitted.sum() < rounded.sum()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    values = np.ones((2, 4))
    values[1, 2] = value
    for bits in (4, 8):
        with pytest.raises(ValueError, match="weights must be finite to be rounded"):
            rounded_weights(values, bits)


def test_first_layer_has_planes_of_its_own(network: ResNet20) -> None:
    rounded = copy.deepcopy(network)
    round_full_precision(rounded, first_layer_bits=4)
    stored = {name: value.double().numpy() for name, value in rounded.state_dict().items()}
    assert fewest_planes(stored["conv0.weight"], 8) == 4
    assert fewest_planes(stored["fc.weight"], 8) == 8


def test_round_full_precision_leaves_quantized_layers_alone(network: ResNet20) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    round_full_precision(network)
    once = {name: value.clone() for name, value in network.state_dict().items()}
    round_full_precision(network)
    changed = {name for name, value in once.items() if not torch.equal(value, before[name])}
    assert changed == {"conv0.weight", "fc.weight"}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, once[name])


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (1.2301, 1.24), (1.23, 1.23), (999.5, 1000.0), (4e-5, 4e-5)]
)
def test_round_up(value: float, expected: float) -> None:
    assert round_up(value) == expected


def test_ranges_need_images(network: ResNet20) -> None:
    with pytest.raises(ValueError, match=r"^calibration images must be at least one, not 0$"):
        measure_ranges(model_bytes(network_model(network)), random_pixels(0))


def test_infinite_ranges_are_refused() -> None:
    content = quantized_model(
        lambda b: b.batch_norm("y", b.image, *np.full((3, 3), 3e38), np.full(3, 1e-30), 1e-30)
    )
    with pytest.raises(ValueError, match=r"^values of tensor 'y' must be finite, not (inf|nan)$"):
        measure_ranges(content, np.full((1, 6, 5, 3), 255, dtype=np.uint8))


@pytest.fixture(scope="module")
def imagenet_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for 64 x 64 pixels and seven classes."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("export") / "resnet18.pt"
    config = {"network": "resnet18", "weight_bits": 1, "activation_bits": 2, "encoding": "unsigned"}
    network = build_network("resnet18", 1, 2, image_size=64, classes=7)
    config |= {"image_size": 64, "classes": 7}
    checkpoint.save(path, {"config": config, "model": network.state_dict()})
    return path


def test_command_measures_ranges_on_given_images(imagenet_checkpoint: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    arguments = ["export", str(imagenet_checkpoint), "-o", str(tmp_path / "a.onnx")]
    arguments += ["--images", str(tmp_path / "images.npz"), "--calibration", "2"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    content = (tmp_path / "a.onnx").read_bytes()
    metadata = {p.key: p.value for p in onnx.load_model_from_string(content).metadata_props}
    assert json.loads(metadata["ranges"]) == measure_ranges(content, images[:2])
    assert not json.loads(metadata.get("labels", "[]"))


def test_command_asks_for_images_where_cifar_does_not_fit(
    imagenet_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.onnx"
    result = CliRunner().invoke(cli, ["export", str(imagenet_checkpoint), "-o", str(output)])
    assert result.exit_code == 2
    assert "--images must be given for images of 64 x 64 pixels" in result.output
    assert not output.exists()
