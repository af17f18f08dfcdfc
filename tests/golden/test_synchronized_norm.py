"""Batch normalization of several processes, here of one: torch's own in float64 is the oracle."""

import pytest
import torch
from torch import Tensor, nn

from golden.distributed import Ranks
from golden.layers import LayerwideBatchNorm, batch_norm
from golden.synchronized_norm import synchronize


def pair(norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A synchronized normalization, and torch's in float64 with the same factors."""
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    other = type(norm)() if isinstance(norm, LayerwideBatchNorm) else batch_norm(5)
    other.load_state_dict(norm.state_dict())
    synchronize(norm, Ranks())
    return norm, other.double()


def run(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values, and the gradient of a weighted sum of them."""
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(batch_norm(5), (4, 5, 3, 2)), (LayerwideBatchNorm(), (4, 5, 1, 1))],
    ids=["channels", "layer"],
)
def test_values_gradients_and_statistics(norm: nn.Module, shape: tuple[int, ...]) -> None:
    own, oracle = pair(norm)
    x = torch.randn(shape) * 3 + 5
    for _ in range(2):
        found, expected = run(own, x), run(oracle, x.double())
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == torch.float32
            assert torch.allclose(a.double(), b, rtol=1e-5, atol=1e-6)
    for a, b in zip(own.parameters(), oracle.parameters(), strict=True):
        assert a.grad is not None
        assert torch.allclose(a.grad.double(), b.grad, rtol=1e-5, atol=1e-6)
    for a, b in zip(own.buffers(), oracle.buffers(), strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-6)


def test_evaluation_uses_the_running_statistics() -> None:
    own, oracle = pair(batch_norm(5))
    x = torch.randn(4, 5, 3, 2)
    own(x)
    oracle(x.double())
    assert torch.allclose(own.eval()(x).double(), oracle.eval()(x.double()), atol=1e-6)


def test_bfloat16_stays_bfloat16_and_statistics_are_exact() -> None:
    norm = batch_norm(2)
    synchronize(norm, Ranks())
    x = torch.tensor([1.0, 3.0, 5.0, 7.0]).bfloat16().view(2, 2, 1, 1)
    y, gradient = run(norm, x)
    assert y.dtype == gradient.dtype == torch.bfloat16
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == pytest.approx([0.1 * 3, 0.1 * 5])
