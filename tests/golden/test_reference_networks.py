"""Checkpoints of the reference code's other networks: they compute here what they did there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from golden.checkpoint import load_network
from golden.layers import LayerwideBatchNorm, QuantConv2d, QuantLinear
from golden.learned_quantizer import SETTLED_STEP
from golden.quantizers import ActivationQuantizer, WeightQuantizer
from golden.reference_import import CheckpointImportError, read_network
from golden.reference_names import REFERENCE_NETWORKS
from golden.resnet import ResNet
from golden.vgg_variant import VggVariant
from host.cli import cli
from tests.golden.reference_backbones import vgg_small
from tests.golden.reference_cases import (
    CASES,
    FORMS,
    GREY,
    golden_scores,
    import_small,
    normalized,
    small_graph,
    small_pixels,
)
from tests.golden.reference_graph import Array, Graph

VARIABLES_OF_TRAINING = {
    "conv1/W/Momentum": np.zeros(3, np.float32),
    "linear/b/Momentum": np.zeros(3, np.float32),
    "conv1/weight_quant/conv1/weight_quant/basis/biased": np.zeros(3, np.float32),
    "conv1/weight_quant/conv1/weight_quant/basis/local_step": np.zeros((), np.float32),
    "EMA/xentropy-loss": np.zeros((), np.float32),
    "EMA/EMA/xentropy-loss_EMA_apply/biased": np.zeros((), np.float32),
    "global_step": np.zeros((), np.int64),
    "learning_rate": np.zeros((), np.float32),
}


def test_every_network_of_the_import_is_tested() -> None:
    assert {*CASES, "resnet20"} == set(REFERENCE_NETWORKS)


@pytest.mark.parametrize(("name", "activations"), FORMS)
def test_scores_are_those_of_the_reference_graph(name: str, activations: int | None) -> None:
    graph, expected = small_graph(name, activations)
    # In float64 the first layers of ImageNet's networks are not rounded, which deep ones amplify.
    imported = import_small(name, graph.variables, torch.float64)
    assert (imported.weight_bits, imported.activation_bits) == (2, activations)
    found = golden_scores(imported.network, small_pixels(CASES[name].small_image_size))
    assert np.ptp(expected, axis=0).max() > 1e-2, "the scores must depend on the image"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "activations"), FORMS)
def test_every_variable_arrives_exactly(name: str, activations: int | None) -> None:
    graph, _ = small_graph(name, activations)
    imported = import_small(name, VARIABLES_OF_TRAINING | graph.variables)
    assert imported.variables == len(graph.variables)
    assert imported.ignored == len(VARIABLES_OF_TRAINING)
    reference = REFERENCE_NETWORKS[name]
    left = dict(graph.variables)
    tensors = dict(imported.network.state_dict())
    if reference.first is not None:
        first, norm = reference.first.convolution, reference.first.norm
        changed, kernel = tensors.pop(f"{first}.weight"), left.pop("conv1/W", None)
        kernel = left.pop("conv0/W") if kernel is None else kernel
        weight, offset = folded(kernel)
        np.testing.assert_array_equal(changed, weight)
        if norm is None:
            np.testing.assert_array_equal(tensors.pop(f"{first}.bias"), offset.astype(np.float32))
        else:
            mean = left.pop(f"{reference.scopes[norm]}/mean/EMA")
            expected = (mean.astype(np.float64) - offset).astype(np.float32)
            np.testing.assert_array_equal(tensors.pop(f"{norm}.running_mean"), expected)

    def equal(tensor: str, variable: str, axes: tuple[int, ...] | None = None) -> None:
        if tensor in tensors:
            expected = left.pop(variable)
            expected = expected if axes is None else expected.transpose(axes)
            np.testing.assert_array_equal(tensors.pop(tensor), expected)

    for path, scope in reference.scopes_of(activations).items():
        match imported.network.get_submodule(path):
            case QuantConv2d() | QuantLinear() as layer:
                linear = isinstance(layer, QuantLinear)
                equal(f"{path}.weight", f"{scope}/W", (1, 0) if linear else (3, 2, 0, 1))
                equal(f"{path}.bias", f"{scope}/b")
                equal(f"{path}.weight_quant.basis", f"{scope}/weight_quant/basis")
            case nn.BatchNorm2d() | LayerwideBatchNorm():
                equal(f"{path}.weight", f"{scope}/gamma")
                equal(f"{path}.bias", f"{scope}/beta")
                equal(f"{path}.running_mean", f"{scope}/mean/EMA")
                equal(f"{path}.running_var", f"{scope}/variance/EMA")
            case ActivationQuantizer():
                basis = left.pop(f"{scope}/ActivationQuantization/basis")
                np.testing.assert_array_equal(tensors.pop(f"{path}.basis"), basis[:, 0])
    assert not left, f"not compared: {sorted(left)}"
    for path, module in imported.network.named_modules():
        if isinstance(module, WeightQuantizer | ActivationQuantizer):
            assert torch.equal(tensors.pop(f"{path}.biased"), module.basis)
            assert tensors.pop(f"{path}.step") == SETTLED_STEP
            tensors.pop(f"{path}.basis", None)
    assert all(tensor.endswith("num_batches_tracked") for tensor in tensors), sorted(tensors)


def folded(kernel: Array) -> tuple[Array, Array]:
    """Weights [Cout, RGB, k, k] and offsets [Cout] for a kernel [k, k, BGR, Cout]."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    rgb = kernel.astype(np.float64)[:, :, ::-1].transpose(3, 2, 0, 1)
    scale, rest = 128 / (255 * deviation), (128 / 255 - mean) / deviation
    return (
        (rgb * scale[:, None, None]).astype(np.float32),
        np.einsum("oijk,i->o", rgb, rest),
    )


def test_only_windows_over_the_border_differ_from_zero_padding() -> None:
    graph, _ = small_graph("resnet18", outside=np.zeros(3))
    _, offset = folded(graph.variables["conv0/W"])
    network = import_small("resnet18", graph.variables).network.double()
    assert isinstance(network, ResNet)
    assert graph.first is not None
    with torch.no_grad():
        pixels = torch.from_numpy(small_pixels(32).transpose(0, 3, 1, 2))
        found = network.conv0(network.pixels(pixels)).numpy().transpose(0, 2, 3, 1) + offset
    differs = (np.abs(found - graph.first) > 1e-5).any(axis=(0, 3))
    border = np.isin(np.arange(16), (0, 14, 15))
    np.testing.assert_array_equal(differs, border[:, None] | border)


def test_the_bias_of_vgg_variant_is_only_that_of_an_import() -> None:
    network = VggVariant(2, 2, image_size=32, widths=(4, 5, 6, 6), features=9, classes=7)
    before = network.conv1.bias
    assert before is not None
    assert not before.any()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    pixels = torch.from_numpy(small_pixels(32).transpose(0, 3, 1, 2)).float()
    network(pixels).sum().backward()
    optimizer.step()
    assert network.conv1.weight.grad is not None
    assert not before.any()


@pytest.mark.parametrize(("name", "activations"), FORMS)
def test_full_size_has_these_names_and_shapes(name: str, activations: int | None) -> None:
    case = CASES[name]
    graph = Graph(activations=activations)
    case.draw(graph, np.zeros((0, case.image_size, case.image_size, 3)), GREY)
    with torch.device("meta"):
        imported = read_network(graph.variables, REFERENCE_NETWORKS[name])
    assert imported.variables == len(graph.variables)
    assert (imported.weight_bits, imported.activation_bits) == (2, activations)


@pytest.mark.parametrize(("name", "activations"), FORMS)
def test_what_does_not_fit_is_named(name: str, activations: int | None) -> None:
    variables = small_graph(name, activations)[0].variables
    quantized = [key for key in variables if key.endswith("weight_quant/basis")]
    for chosen in (next(iter(variables)), quantized[len(quantized) // 2], list(variables)[-1]):
        rest = {key: values for key, values in variables.items() if key != chosen}
        with pytest.raises(CheckpointImportError, match=f"^variable '{chosen}' must be in the fil"):
            import_small(name, rest)
        wrong = variables | {chosen: np.zeros((*variables[chosen].shape, 2), np.float32)}
        with pytest.raises(CheckpointImportError, match=f"^variable '{chosen}' must have the shap"):
            import_small(name, wrong)
    extra = variables | {"conv1/extra": np.zeros(1, np.float32)}
    with pytest.raises(CheckpointImportError, match="^variable 'conv1/extra' must belong to the n"):
        import_small(name, extra)


@pytest.mark.parametrize(
    ("name", "variable", "shape", "text"),
    [
        ("alexnet", "fc6/W", (2, 2, 9, 5), "must have the shape [2, 2, 5, 9], not [2, 2, 9, 5]"),
        # Statistics for each channel, as runs with --data_format NHWC have them.
        ("alexnet", "fc7/bn/mean/EMA", (9,), "must have the shape [1], not [9]"),
        ("vgg-variant", "fc5/bn/gamma", (1,), "must belong to the network, but does not"),
        ("vgg-variant", "conv1/b", (4,), "must belong to the network, but does not"),
        ("resnet18", "group0/block1/convshortcut/W", (1, 1, 4, 4), "must belong to the network"),
        ("densenet121-released", "block0/first/bn/beta", (6,), "must belong to the network"),
    ],
)
def test_other_forms_of_a_network_are_refused(
    name: str, variable: str, shape: tuple[int, ...], text: str
) -> None:
    variables = small_graph(name)[0].variables | {variable: np.zeros(shape, np.float32)}
    with pytest.raises(CheckpointImportError) as caught:
        import_small(name, variables)
    assert str(caught.value).startswith(f"variable '{variable}' {text}")


def test_type_a_needs_activation_codes() -> None:
    variables = small_graph("resnet50", None)[0].variables
    with pytest.raises(CheckpointImportError, match=r"must have activation codes, 1\.\.8 bits"):
        import_small("resnet50-type-a", variables)


def test_preactivation_and_weight_only_forms_are_not_mixed_up() -> None:
    variables = small_graph("resnet18")[0].variables
    floats = {k: v for k, v in variables.items() if "ActivationQuantization" not in k}
    with pytest.raises(CheckpointImportError, match=r"^variable 'group0/block1/preact/bn/.*belong"):
        import_small("resnet18", floats)


def test_command_imports_vgg_small(tmp_path: Path) -> None:
    graph = Graph()
    scores = vgg_small(graph, normalized("vgg-small", small_pixels(32)), (128, 256, 512), 10)
    source = tmp_path / "vgg.npz"
    with source.open("wb") as file:
        np.savez(file, **graph.variables)  # pyright: ignore[reportArgumentType]
    result = CliRunner().invoke(cli, ["import", str(source), "--network", "vgg-small"])
    assert result.exit_code == 0, result.output
    assert "2-bit weights, 2-bit activations" in result.output
    network = load_network(tmp_path / "vgg.pt")
    np.testing.assert_allclose(golden_scores(network, small_pixels(32)), scores, rtol=0, atol=1e-9)
