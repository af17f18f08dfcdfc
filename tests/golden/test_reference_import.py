"""Checkpoints of the reference code: exact round trip; whatever does not fit is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from golden.checkpoint import load, load_network
from golden.export import export_model
from golden.onnx_import import import_model
from golden.quantizers import ActivationQuantizer, WeightQuantizer
from golden.reference_import import CheckpointImportError, import_checkpoint, read_network
from golden.reference_names import REFERENCE_NETWORKS
from golden.resnet20 import ResNet20
from host.cli import cli

Variables = dict[str, np.ndarray]
WIDTHS = (16, 32, 64)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def basis(rng: np.random.Generator, planes: int, columns: int) -> np.ndarray:
    """Multiples of 1/64 in no order, so that sums and midpoints are exact in any precision."""
    return (rng.integers(1, 64, (planes, columns)) / 64).astype(np.float32)


def batch_norm(rng: np.random.Generator, scope: str, channels: int) -> Variables:
    return {
        f"{scope}/gamma": normal(rng, channels),
        f"{scope}/beta": normal(rng, channels),
        f"{scope}/mean/EMA": normal(rng, channels),
        f"{scope}/variance/EMA": rng.uniform(0.5, 2, channels).astype(np.float32),
    }


def resnet20_variables(weights: int | None = 2, activations: int | None = 3) -> Variables:
    """The variables of tensorpack's CIFAR ResNet with the reference code's quantized layers."""
    rng = np.random.default_rng(1)
    found: Variables = {"conv0/W": normal(rng, 3, 3, 3, 16), **batch_norm(rng, "conv0/bn", 16)}
    before = 16
    for stage, block in itertools.product(range(3), range(3)):
        scope, width = f"res{stage + 1}.{block}", WIDTHS[stage]
        if (stage, block) != (0, 0):
            found |= batch_norm(rng, f"{scope}/bn", before)
        found |= batch_norm(rng, f"{scope}/conv1/bn", width)
        for number, inputs in ((1, before), (2, width)):
            found[f"{scope}/conv{number}/W"] = normal(rng, 3, 3, inputs, width)
            if weights is not None:
                name = f"{scope}/conv{number}/weight_quant/basis"
                found[name] = basis(rng, weights, width)
            if activations is not None:
                name = f"{scope}/quant{number}/ActivationQuantization/basis"
                found[name] = basis(rng, activations, 1)
        before = width
    found |= batch_norm(rng, "bnlast/bn", 64)
    return found | {"linear/W": normal(rng, 64, 10), "linear/b": normal(rng, 10)}


def reference_levels(value: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The reference code's rule: up one level for every midpoint that is strictly below."""
    quantized = np.full(value.shape, levels[0])
    for lower, upper in itertools.pairwise(levels):
        quantized = np.where(value > 0.5 * lower + 0.5 * upper, upper, quantized)
    return quantized


def write(path: Path, variables: Variables) -> Path:
    with path.open("wb") as file:
        np.savez(file, **variables)  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> ResNet20:
    """A W2A3 network that went through a file and a checkpoint."""
    folder = tmp_path_factory.mktemp("import")
    source = write(folder / "reference.npz", resnet20_variables())
    import_checkpoint(source, "resnet20", folder / "resnet20.pt")
    return load_network(folder / "resnet20.pt")


def test_every_variable_arrives_exactly(imported: ResNet20) -> None:
    left = resnet20_variables()

    def equal(tensor: torch.Tensor, name: str, axes: tuple[int, ...] | None = None) -> None:
        expected = left.pop(name)
        expected = expected if axes is None else expected.transpose(axes)
        np.testing.assert_array_equal(tensor.detach().numpy(), expected)

    def equal_batch_norm(module: torch.nn.BatchNorm2d, scope: str) -> None:
        assert module.running_mean is not None
        assert module.running_var is not None
        assert module.eps == 1e-5
        equal(module.weight, f"{scope}/gamma")
        equal(module.bias, f"{scope}/beta")
        equal(module.running_mean, f"{scope}/mean/EMA")
        equal(module.running_var, f"{scope}/variance/EMA")

    kernel = (3, 2, 0, 1)
    equal(imported.conv0.weight, "conv0/W", kernel)
    equal_batch_norm(imported.bn0, "conv0/bn")
    for number, block in enumerate(imported.blocks()):
        scope = f"res{number // 3 + 1}.{number % 3}"
        if block.bn_in is not None:
            equal_batch_norm(block.bn_in, f"{scope}/bn")
        equal_batch_norm(block.bn1, f"{scope}/conv1/bn")
        for name, conv, quant in (
            ("1", block.conv1, block.quant1),
            ("2", block.conv2, block.quant2),
        ):
            equal(conv.weight, f"{scope}/conv{name}/W", kernel)
            assert conv.weight_quant is not None
            equal(conv.weight_quant.basis, f"{scope}/conv{name}/weight_quant/basis")
            assert isinstance(quant, ActivationQuantizer)
            equal(quant.basis[:, None], f"{scope}/quant{name}/ActivationQuantization/basis")
    equal_batch_norm(imported.bn_last, "bnlast/bn")
    equal(imported.fc.weight, "linear/W", (1, 0))
    assert imported.fc.bias is not None
    equal(imported.fc.bias, "linear/b")
    assert not left, f"not compared: {sorted(left)}"


def test_weights_take_the_levels_of_the_reference_code(imported: ResNet20) -> None:
    variables = resnet20_variables()
    for number, block in enumerate(imported.blocks()):
        scope = f"res{number // 3 + 1}.{number % 3}/conv2"
        kernel, rows = variables[f"{scope}/W"], variables[f"{scope}/weight_quant/basis"]
        quantized = block.conv2.quantized_weight().detach().numpy()
        for channel, row in enumerate(rows.T):
            signs = [[1 if code >> bit & 1 else -1 for bit in range(2)] for code in range(4)]
            levels = np.sort(np.array(signs) @ row)
            expected = reference_levels(kernel[..., channel], levels)
            np.testing.assert_array_equal(quantized[channel], expected.transpose(2, 0, 1))


def test_activations_take_the_levels_of_the_reference_code(imported: ResNet20) -> None:
    row = resnet20_variables()["res2.1/quant2/ActivationQuantization/basis"][:, 0]
    ones = [[code >> bit & 1 for bit in range(3)] for code in range(8)]
    levels = np.sort(np.array(ones) @ row)
    x = np.arange(-8, 400, dtype=np.float32) / 128  # holds every midpoint, so ties as well
    quantized = imported.blocks()[4].quant2(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(quantized, reference_levels(x, levels))


def test_code_bits_belong_to_basis_entries_in_their_order(imported: ResNet20) -> None:
    quantizer = imported.blocks()[0].conv1.weight_quant
    assert quantizer is not None
    weight = imported.blocks()[0].conv1.weight
    codes = quantizer.codes(weight)
    signs = 2 * torch.stack([codes & 1, codes >> 1]) - 1
    total = (signs * quantizer.basis[:, :, None, None, None]).sum(0)
    assert torch.equal(total, quantizer(weight))


def test_imported_bases_count_as_settled_averages(imported: ResNet20) -> None:
    for module in imported.modules():
        if isinstance(module, WeightQuantizer | ActivationQuantizer):
            assert 1 - 0.9 ** int(module.step) == 1
            assert torch.equal(module.biased, module.basis)


@pytest.mark.parametrize(("weights", "activations"), [(2, None), (None, None), (1, 8)])
def test_bits_follow_from_the_bases(weights: int | None, activations: int | None) -> None:
    variables = resnet20_variables(weights, activations)
    imported = read_network(variables, REFERENCE_NETWORKS["resnet20"])
    assert (imported.weight_bits, imported.activation_bits) == (weights, activations)


def test_variables_of_training_are_left_out(tmp_path: Path) -> None:
    extra = {
        "conv0/W/Momentum": np.zeros((3, 3, 3, 16), np.float32),
        "res1.0/conv1/weight_quant/res1.0/conv1/weight_quant/basis/biased": np.zeros((2, 16)),
        "res1.0/conv1/weight_quant/res1.0/conv1/weight_quant/basis/local_step": np.array(3),
        "global_step": np.array(1000),
        "learning_rate": np.array(0.1),
    }
    source = write(tmp_path / "a.npz", resnet20_variables() | extra)
    assert import_checkpoint(source, "resnet20", tmp_path / "a.pt").ignored == len(extra)


def test_names_may_carry_the_output_number_of_tensorflow(tmp_path: Path) -> None:
    variables = {f"{name}:0": values for name, values in resnet20_variables().items()}
    source = write(tmp_path / "a.npz", variables)
    imported = import_checkpoint(source, "resnet20", tmp_path / "a.pt")
    assert imported.variables == len(variables)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Variables:
    variables = resnet20_variables()
    return variables | {name: change(variables[name])}


def without(name: str) -> Variables:
    return {key: values for key, values in resnet20_variables().items() if key != name}


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (without("res2.0/bn/beta"), "variable 'res2.0/bn/beta' must be in the file"),
        (without("linear/b"), "variable 'linear/b' must be in the file"),
        (
            without("res3.2/conv2/weight_quant/basis"),
            "variable 'res3.2/conv2/weight_quant/basis' must be in the file",
        ),
        (
            resnet20_variables() | {"res1.0/bn/beta": np.zeros(16, np.float32)},
            "variable 'res1.0/bn/beta' must belong to the network",
        ),
        (
            changed("res2.0/conv1/W", lambda values: values.transpose(3, 2, 0, 1)),
            "variable 'res2.0/conv1/W' must have the shape [3, 3, 16, 32], not [32, 16, 3, 3]",
        ),
        (
            changed("linear/W", lambda values: values.T),
            "variable 'linear/W' must have the shape [64, 10], not [10, 64]",
        ),
        (
            changed("res1.1/quant1/ActivationQuantization/basis", np.ravel),
            "variable 'res1.1/quant1/ActivationQuantization/basis' must have the shape",
        ),
        (
            changed("res1.1/conv1/weight_quant/basis", lambda values: values[:1]),
            "variable 'res1.1/conv1/weight_quant/basis' must have 2 rows like",
        ),
        (
            changed("res1.1/quant1/ActivationQuantization/basis", np.negative),
            "variable 'res1.1/quant1/ActivationQuantization/basis' must not be negative",
        ),
        (
            changed("bnlast/bn/variance/EMA", np.negative),
            "variable 'bnlast/bn/variance/EMA' must not be negative",
        ),
        (
            changed("conv0/W", lambda values: values * np.nan),
            "variable 'conv0/W' must be finite, not NaN or inf",
        ),
        (
            changed("conv0/W", lambda values: values.astype(np.float64)),
            "variable 'conv0/W' must be float32, not float64",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_no_file(
    tmp_path: Path, variables: Variables, text: str
) -> None:
    source = write(tmp_path / "a.npz", variables)
    with pytest.raises(CheckpointImportError) as caught:
        import_checkpoint(source, "resnet20", tmp_path / "a.pt")
    assert text in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"model-1000"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointImportError, match="must be an .npz file"):
        import_checkpoint(path, "resnet20", tmp_path / "a.pt")


def test_single_arrays_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CheckpointImportError, match="must be an .npz file of arrays"):
        import_checkpoint(tmp_path / "a.npz", "resnet20", tmp_path / "a.pt")


def test_command_writes_a_checkpoint_that_exports(tmp_path: Path) -> None:
    source = write(tmp_path / "reference.npz", resnet20_variables(2, 2))
    result = CliRunner().invoke(cli, ["import", str(source), "--network", "resnet20"])
    assert result.exit_code == 0, result.output
    assert "2-bit weights, 2-bit activations" in result.output
    path = tmp_path / "reference.pt"
    assert load(path)["config"]["network"] == "resnet20"
    export_model(load_network(path), tmp_path / "reference.onnx")
    assert import_model(tmp_path / "reference.onnx").output == "fc"
