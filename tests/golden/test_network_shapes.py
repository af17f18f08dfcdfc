"""Every layer of every network against a table of published shapes, operations and weights.

``network_shapes.csv`` was worked out from the LQ-Nets authors' released code, apart from this
project: shape, multiply-adds (two digits after the million) and weights (one digit after the
thousand) of each convolution and linear layer, and whether it is quantized.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from golden.example_model import calibrate, example_images
from golden.layers import QuantConv2d, QuantLinear
from golden.network import LqNetwork
from golden.networks import build_network
from golden.quantizers import ActivationEncoding, ActivationQuantizer

TABLE = Path(__file__).with_name("network_shapes.csv")

TOTALS = {
    "resnet20": (40.6, 98.9, 0.268),
    "vgg-small": (607.6, 99.4, 4.657),
    "alexnet": (1135.3, 90.4, 62.368),
    "vgg-variant": (10705.1, 98.3, 138.025),
    "googlenet-variant": (3184.5, 96.3, 12.250),
    "resnet18": (1814.1, 93.5, 11.679),
    "resnet34": (3663.8, 96.8, 21.780),
    "resnet50": (4089.2, 97.1, 25.503),
    "densenet121": (2834.2, 95.8, 7.894),
}
"""Millions of multiply-adds, percent of them quantized, millions of weights."""


@dataclass(frozen=True)
class LayerShape:
    """One layer as it ran."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    size: int
    quantized: bool
    weights: int
    coded_input: bool
    """Whether the input takes no more values than codes have."""

    @property
    def operations(self) -> int:
        """Multiply-adds."""
        return self.weights * self.size * self.size


def run_layers(network: LqNetwork, pixels: Tensor) -> list[LayerShape]:
    """All convolutions and linear layers in the order in which they ran."""
    layers: list[LayerShape] = []

    def watch(name: str, layer: QuantConv2d | QuantLinear) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            convolution = isinstance(layer, QuantConv2d)
            assert output.dim() == 2 or output.shape[2] == output.shape[3]
            layers.append(
                LayerShape(
                    name=name,
                    inputs=inputs[0].shape[1],
                    outputs=output.shape[1],
                    kernel=layer.kernel_size if convolution else 1,
                    stride=layer.stride if convolution else 1,
                    size=output.shape[2] if convolution else 1,
                    quantized=layer.weight_quant is not None,
                    weights=layer.weight.numel(),
                    coded_input=not inputs[0].is_meta and inputs[0].unique().numel() <= 4,
                )
            )

        layer.register_forward_hook(hook)

    for name, layer in network.named_modules():
        if isinstance(layer, QuantConv2d | QuantLinear):
            watch(name, layer)
    network.eval()
    network(pixels)
    return layers


def layers_of(name: str, weights: int | None = 2, activations: int | None = 2) -> list[LayerShape]:
    """Layers of a registered network, without computing anything."""
    with torch.device("meta"):
        network = build_network(name, weights, activations)
        return run_layers(network, torch.empty((1, 3, *network.image_shape[:2])))


def expected_layers(name: str) -> list[dict[str, str]]:
    with TABLE.open() as file:
        return [row for row in csv.DictReader(file) if row["network"] == name]


@pytest.mark.parametrize("name", TOTALS)
def test_layers_are_those_of_the_table(name: str) -> None:
    rows = expected_layers(name)
    layers = layers_of(name)
    assert [layer.name for layer in layers] == [row["layer"] for row in rows]
    for layer, row in zip(layers, rows, strict=True):
        shape = (layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.size)
        wanted = tuple(int(row[key]) for key in ("inputs", "outputs", "kernel", "stride", "size"))
        assert shape == wanted, layer.name
        assert layer.quantized == (row["form"] == "quantized"), layer.name
        inputs, outputs, kernel, _, size = wanted
        assert layer.weights == inputs * outputs * kernel**2, layer.name
        assert layer.operations == inputs * outputs * kernel**2 * size**2, layer.name
        assert round(layer.operations / 1e6, 2) == pytest.approx(float(row["megamacs"]), abs=0.011)
        assert round(layer.weights / 1e3, 1) == pytest.approx(float(row["kiloweights"]), abs=0.11)


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_those_of_the_table(name: str) -> None:
    layers = layers_of(name)
    operations = sum(layer.operations for layer in layers)
    quantized = sum(layer.operations for layer in layers if layer.quantized)
    weights = sum(layer.weights for layer in layers)
    found = (round(operations / 1e6, 1), round(100 * quantized / operations, 1))
    assert (*found, round(weights / 1e6, 3)) == TOTALS[name]


@pytest.mark.parametrize("name", ["resnet18-type-a", "resnet34-type-a", "resnet50-type-a"])
def test_type_a_lacks_only_the_shortcut_convolutions(name: str) -> None:
    with_shortcuts = layers_of(name.removesuffix("-type-a"))
    kept = [layer for layer in with_shortcuts if ".shortcut." not in layer.name]
    assert 0 < len(kept) < len(with_shortcuts)
    assert layers_of(name) == kept


@pytest.mark.parametrize("name", ["resnet18-type-a", "resnet50-type-a"])
def test_type_a_carries_rectified_floats_into_the_next_stage(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 1, 2, image_size=64).eval()
    seen: dict[str, Tensor] = {}

    def watch(path: str, *, output: bool) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
            seen[path] = result if output else inputs[0]

        network.get_submodule(path).register_forward_hook(hook)

    watch("ends.0", output=True)
    watch("stages.1.0.entry", output=False)
    watch("stages.1.0.shortcut", output=False)
    images = example_images(network.image_shape, 1)
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2))
    end = seen["ends.0"]
    assert end.min() == 0
    assert end.unique().numel() > 4
    assert torch.equal(seen["stages.1.0.entry"], end)
    assert torch.equal(seen["stages.1.0.shortcut"], end)
    assert isinstance(network.get_submodule("stages.1.0.entry"), ActivationQuantizer)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_weight_only_form_has_the_same_layers(name: str) -> None:
    assert layers_of(name, 2, None) == layers_of(name)


def test_released_densenet_has_the_same_layers() -> None:
    assert layers_of("densenet121-released") == layers_of("densenet121")


@pytest.mark.parametrize("name", TOTALS)
def test_float_networks_have_no_quantizer(name: str) -> None:
    assert not any(layer.quantized for layer in layers_of(name, None, None))


@pytest.mark.parametrize("encoding", ActivationEncoding)
@pytest.mark.parametrize(
    ("name", "size", "float_inputs"),
    [
        ("alexnet", 67, {"conv1", "fc8"}),
        ("vgg-small", 16, {"conv0", "fc"}),
        ("resnet18", 64, {"conv0", "fc"}),
        ("resnet18-type-a", 64, {"conv0", "fc"}),
        ("resnet50", 64, {"conv0", "stages.0.0.shortcut.conv", "fc"}),
    ],
)
def test_inner_layers_read_codes_of_one_basis(
    name: str, size: int, float_inputs: set[str], encoding: ActivationEncoding
) -> None:
    torch.manual_seed(0)
    network = build_network(name, 1, 2, encoding, image_size=size)
    images = example_images(network.image_shape, 4)
    calibrate(network, images, passes=2)
    with torch.no_grad():
        layers = run_layers(network, torch.from_numpy(images).permute(0, 3, 1, 2))
    assert {layer.name for layer in layers if not layer.coded_input} == float_inputs
    assert all(
        module.bits == 2 and module.encoding is encoding
        for module in network.modules()
        if isinstance(module, ActivationQuantizer)
    )
