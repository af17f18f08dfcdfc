"""Quantizers: least-squares fixed points, ties, level order, moving average, gradients."""

import math

import pytest
import torch
from torch import Tensor

from golden.level_assignment import assign_levels, compare_and_sum, round_to_levels
from golden.quantizers import (
    ActivationEncoding,
    ActivationQuantizer,
    WeightQuantizer,
    code_table,
)

UNSIGNED = ActivationEncoding.UNSIGNED
SIGNED = ActivationEncoding.SIGNED


def normal_sample(count: int = 100_001) -> Tensor:
    """Equally likely quantiles of N(0, 1), float32: a normal sample without sampling noise."""
    share = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (math.sqrt(2) * torch.erfinv(2 * share - 1)).float()


def set_basis(quantizer: WeightQuantizer | ActivationQuantizer, basis: Tensor) -> None:
    quantizer.basis.copy_(basis)


def dense_codes(quantizer: WeightQuantizer | ActivationQuantizer, x: Tensor) -> Tensor:
    """Code bits of ``x`` as numbers of the quantizer's alphabet, float64 [..., K]."""
    return code_table(quantizer.bits, quantizer.encoding)[quantizer.codes(x)]


# Optimal bases for N(0,1) (weights) and for its positive part (activations), from iterating the
# alternation to convergence in float64 with exact normal integrals in place of sums over samples.
WEIGHT_OPTIMA = [
    [math.sqrt(2 / math.pi)],
    [0.5288, 0.9816],
    [0.3010, 0.6069, 1.1578],
    [0.2037, 0.3702, 0.7450, 1.2323],
]
ACTIVATION_OPTIMA = [
    [1.2240],
    [0.6522, 1.3000],
    [0.3525, 0.7036, 1.4185],
    [0.1925, 0.3848, 0.7691, 1.5541],
]


@pytest.mark.parametrize("optimum", WEIGHT_OPTIMA)
def test_weight_optimum_is_a_fixed_point(optimum: list[float]) -> None:
    quantizer = WeightQuantizer(1, len(optimum), fan_out_n=2)
    set_basis(quantizer, torch.tensor(optimum)[:, None])
    quantizer(normal_sample()[None])
    assert quantizer.basis[:, 0].tolist() == pytest.approx(optimum, abs=5e-4)


@pytest.mark.parametrize("optimum", ACTIVATION_OPTIMA)
def test_activation_optimum_is_a_fixed_point(optimum: list[float]) -> None:
    quantizer = ActivationQuantizer(len(optimum))
    set_basis(quantizer, torch.tensor(optimum))
    quantizer(normal_sample().relu())
    assert quantizer.basis.tolist() == pytest.approx(optimum, abs=5e-4)


@pytest.mark.parametrize("optimum", WEIGHT_OPTIMA[:3])
def test_weight_basis_converges_to_the_optimum(optimum: list[float]) -> None:
    quantizer = WeightQuantizer(1, len(optimum), fan_out_n=2)
    sample = normal_sample(10_001)[None]
    for _ in range(300):
        quantizer(sample)
    assert quantizer.basis[:, 0].tolist() == pytest.approx(optimum, abs=3e-3)


@pytest.mark.parametrize("optimum", ACTIVATION_OPTIMA[:3])
def test_activation_basis_converges_to_the_optimum(optimum: list[float]) -> None:
    quantizer = ActivationQuantizer(len(optimum))
    sample = normal_sample(10_001).relu()
    for _ in range(300):
        quantizer(sample)
    assert quantizer.basis.tolist() == pytest.approx(optimum, abs=2e-2)


def test_one_bit_weight_basis_is_the_mean_magnitude() -> None:
    torch.manual_seed(1)
    weight = torch.randn(5, 3, 3, 3)
    quantizer = WeightQuantizer(5, 1, fan_out_n=45)
    quantizer(weight)
    expected = weight.abs().flatten(1).mean(1)
    assert torch.allclose(quantizer.basis[0], expected, rtol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_weight_fit_solves_the_regularized_normal_equations(bits: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(4, 300)
    quantizer = WeightQuantizer(4, bits, fan_out_n=2)
    stored = quantizer.basis.double()
    codes = dense_codes(quantizer, weight)
    quantizer(weight)
    for channel in range(4):
        b = codes[channel]
        gram = b.T @ b + 1e-4 * torch.eye(bits)
        moment = b.T @ weight[channel].double() + 1e-4 * stored[:, channel]
        expected = torch.linalg.solve(gram, moment)
        # After one zero-debiased update the stored basis is the new one.
        assert torch.allclose(quantizer.basis[:, channel].double(), expected, atol=1e-5)


@pytest.mark.parametrize("encoding", ActivationEncoding)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_activation_fit_solves_the_normal_equations(
    bits: int, encoding: ActivationEncoding
) -> None:
    torch.manual_seed(bits)
    x = torch.randn(20_000)
    x = x.relu() if encoding is UNSIGNED else x
    quantizer = ActivationQuantizer(bits, encoding)
    codes = dense_codes(quantizer, x)
    quantizer(x)
    expected = torch.linalg.lstsq(codes, x.double()[:, None]).solution[:, 0]
    assert torch.allclose(quantizer.basis.double(), expected, atol=1e-4)


def test_fit_does_not_increase_the_error() -> None:
    torch.manual_seed(3)
    x = torch.rand(5_000) ** 2
    quantizer = ActivationQuantizer(2)
    errors = []
    for _ in range(20):
        errors.append(((quantizer.eval()(x) - x) ** 2).sum().item())
        quantizer.train()(x)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_regularizer_holds_a_basis_that_the_weights_do_not_determine() -> None:
    quantizer = WeightQuantizer(1, 2, fan_out_n=2)
    set_basis(quantizer, torch.tensor([[0.5], [1.0]]))
    # All weights sit on the top level: only the sum of both entries is determined.
    quantizer(torch.full((1, 8), 2.1))
    low, high = quantizer.basis[:, 0].tolist()
    assert low + high == pytest.approx(2.1, abs=1e-4)
    assert high - low == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("bits", "first", "ratio"),
    [(1, 0.6745 * 2 / 1, 1), (2, 0.6745 * 2 / 3, 2), (3, 0.6745 * 2 / 7, 2)],
)
def test_initial_activation_basis(bits: int, first: float, ratio: int) -> None:
    quantizer = ActivationQuantizer(bits)
    expected = [first * ratio**j for j in range(bits)]
    assert quantizer.basis.tolist() == pytest.approx(expected)
    assert quantizer.levels()[-1].item() == pytest.approx(2 * 0.6745)


def test_initial_weight_basis_is_the_same_for_all_channels() -> None:
    quantizer = WeightQuantizer(7, 3, fan_out_n=9 * 7)
    unit = 0.6745 * math.sqrt(2 / 63) / 4
    assert quantizer.basis.shape == (3, 7)
    for channel in range(7):
        expected = [unit, 2 * unit, 4 * unit]
        assert quantizer.basis[:, channel].tolist() == pytest.approx(expected)


def test_two_bit_levels_and_thresholds() -> None:
    weights = WeightQuantizer(1, 2, fan_out_n=2)
    set_basis(weights, torch.tensor([[0.25], [1.0]]))
    assert weights.levels().tolist() == [[-1.25, -0.75, 0.75, 1.25]]
    assert weights.thresholds().tolist() == [[-1.0, 0.0, 1.0]]
    activations = ActivationQuantizer(2)
    set_basis(activations, torch.tensor([0.25, 1.0]))
    assert activations.levels().tolist() == [0.0, 0.25, 1.0, 1.25]
    assert activations.thresholds().tolist() == [0.125, 0.625, 1.125]


def test_tie_takes_the_lower_level() -> None:
    quantizer = ActivationQuantizer(2).eval()
    set_basis(quantizer, torch.tensor([0.25, 1.0]))
    above = torch.nextafter(torch.tensor(0.625), torch.tensor(1.0)).item()
    x = torch.tensor([0.125, 0.625, above, 1.125, 9.0, -1.0])
    assert quantizer(x).tolist() == [0.0, 0.25, 1.0, 1.0, 1.25, 0.0]
    assert quantizer.codes(x).tolist() == [0, 1, 2, 2, 3, 0]


def test_weight_tie_takes_the_lower_level() -> None:
    quantizer = WeightQuantizer(1, 2, fan_out_n=2).eval()
    set_basis(quantizer, torch.tensor([[0.25], [1.0]]))
    x = torch.tensor([[-1.0, 0.0, 1.0, 1e-30]])
    assert quantizer(x).tolist() == [[-1.25, -0.75, 0.75, 0.75]]
    assert quantizer.codes(x).tolist() == [[0, 1, 2, 2]]


def test_four_bit_levels_can_leave_counting_order() -> None:
    quantizer = WeightQuantizer(1, 4, fan_out_n=2).eval()
    set_basis(quantizer, torch.tensor([[0.2034], [0.3701], [0.7441], [1.231]]))
    levels, order = quantizer.sorted_levels()
    # The three small entries together exceed the large one, so code 0111 lies above code 1000.
    assert order.tolist() == [[0, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12, 13, 14, 15]]
    assert (levels.diff() > 0).all()
    x = levels + 1e-3
    assert quantizer.codes(x).tolist() == order.tolist()


@pytest.mark.parametrize("encoding", ActivationEncoding)
@pytest.mark.parametrize("bits", range(1, 9))
def test_value_is_the_product_of_basis_and_code(bits: int, encoding: ActivationEncoding) -> None:
    torch.manual_seed(bits)
    quantizer = ActivationQuantizer(bits, encoding).eval()
    set_basis(quantizer, torch.randn(bits))
    x = torch.randn(3, 4, 5)
    expected = dense_codes(quantizer, x) @ quantizer.basis.double()
    assert torch.allclose(quantizer(x).double(), expected, atol=1e-6)
    nearest = (x[..., None] - quantizer.levels()).abs().amin(-1)
    assert torch.allclose((quantizer(x) - x).abs(), nearest, atol=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_weight_value_is_the_product_of_basis_and_code(bits: int) -> None:
    torch.manual_seed(bits)
    quantizer = WeightQuantizer(6, bits, fan_out_n=2).eval()
    set_basis(quantizer, torch.randn(bits, 6))
    weight = torch.randn(6, 2, 3, 3)
    bits_of = dense_codes(quantizer, weight)
    expected = torch.einsum("cxyzk,kc->cxyz", bits_of, quantizer.basis.double())
    assert torch.allclose(quantizer(weight).double(), expected, atol=1e-6)


def test_moving_average_is_debiased() -> None:
    quantizer = ActivationQuantizer(1)
    set_basis(quantizer, torch.tensor([1.0]))
    # A 1-bit fit is the mean of the elements above half the basis.
    quantizer(torch.tensor([2.0, 0.1]))
    assert quantizer.basis.item() == pytest.approx(2.0)
    quantizer(torch.tensor([3.0, 0.1]))
    biased = 0.9 * (0.1 * 2.0) + 0.1 * 3.0
    assert quantizer.biased.item() == pytest.approx(biased)
    assert quantizer.basis.item() == pytest.approx(biased / (1 - 0.9**2))
    assert quantizer.step.item() == 2


def test_output_uses_the_stored_basis() -> None:
    quantizer = ActivationQuantizer(1)
    set_basis(quantizer, torch.tensor([1.0]))
    assert quantizer(torch.tensor([2.0, 0.1])).tolist() == [1.0, 0.0]


def test_evaluation_changes_nothing() -> None:
    quantizer = ActivationQuantizer(2).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.rand(100))
    after = quantizer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weight_gradient_passes_unchanged() -> None:
    quantizer = WeightQuantizer(2, 2, fan_out_n=2)
    weight = torch.tensor([[-50.0, 0.1], [0.0, 70.0]], requires_grad=True)
    (quantizer(weight) * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_activation_gradient_stops_above_the_top_level() -> None:
    quantizer = ActivationQuantizer(2).eval()
    set_basis(quantizer, torch.tensor([0.25, 1.0]))
    x = torch.tensor([-3.0, 0.0, 0.7, 1.25, 1.2500001], requires_grad=True)
    (quantizer(x) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0, 3.0, 4.0, 0.0]


@pytest.mark.parametrize(
    "x",
    [torch.zeros(16), torch.full((16,), 5.0), torch.tensor([0.0, 0.5, 0.5])],
    ids=["unused planes", "planes that agree", "unused high plane"],
)
def test_undetermined_activation_basis_is_kept(x: Tensor) -> None:
    quantizer = ActivationQuantizer(2)
    before = quantizer.basis.clone()
    quantizer(x)
    assert torch.allclose(quantizer.basis, before)
    quantizer(x)
    assert quantizer.unfitted.item() == 2
    quantizer(torch.linspace(0, 2, 100))
    assert not torch.allclose(quantizer.basis, before)
    assert quantizer.unfitted.item() == 2


def test_statistics_of_both_ways_agree() -> None:
    torch.manual_seed(5)
    x = torch.randn(40, 50)
    quantizer = ActivationQuantizer(3, SIGNED)
    levels, thresholds = quantizer.levels(), quantizer.thresholds()
    quantized, counts, sums = assign_levels(x, thresholds, levels, compare_and_sum)
    index = torch.bucketize(x, thresholds)
    assert torch.equal(quantized, levels[index])
    assert torch.equal(quantized, round_to_levels(x, thresholds, levels))
    for level in range(8):
        chosen = x[index == level].double()
        assert counts[level].item() == len(chosen)
        assert sums[level].item() == pytest.approx(chosen.sum().item(), abs=1e-3)


def test_bfloat16_input_gives_bfloat16_levels() -> None:
    quantizer = ActivationQuantizer(2)
    x = torch.rand(64, dtype=torch.bfloat16)
    y = quantizer(x)
    assert y.dtype == torch.bfloat16
    assert quantizer.basis.dtype == torch.float32


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_bits_are_checked(bits: int) -> None:
    with pytest.raises(ValueError, match=rf"^bits must be in 1\.\.8, not {bits}$"):
        ActivationQuantizer(bits)
    with pytest.raises(ValueError, match=rf"^bits must be in 1\.\.8, not {bits}$"):
        WeightQuantizer(4, bits, fan_out_n=4)


def test_fan_out_is_checked() -> None:
    with pytest.raises(ValueError, match=r"^fan_out_n must be positive, not 0$"):
        WeightQuantizer(4, 2, fan_out_n=0)
