"""Updates at the end of a step: the same bases, no waiting for the device, unfitted ones named."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from golden.basis_updates import BasisUpdates
from golden.distributed import Ranks
from golden.quantizers import ActivationEncoding, ActivationQuantizer, WeightQuantizer
from tests.golden.small_networks import FAMILIES

WAITING = ("_local_scalar_dense", "nonzero", "bincount", "linalg_eigh", "is_nonzero", "equal")
"""Operations whose result, or the check of it, is needed on the host."""


class NothingWaits(TorchDispatchMode):
    """Fails at operations that wait for a GPU."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.__name__.partition(".")[0].strip("_")
        assert name not in {each.strip("_") for each in WAITING}, f"{name} waits for the device"
        return function(*arguments, **(options or {}))


def step(network: nn.Module, updates: BasisUpdates | None) -> None:
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    scores = network(pixels)
    labels = torch.arange(4)
    functional.cross_entropy(scores, labels).backward()
    if updates is not None:
        updates.update()


@pytest.mark.parametrize(("weights", "activations"), [(1, 2), (2, 2), (3, 4), (None, 3)])
def test_bases_are_those_of_updates_at_once(weights: int | None, activations: int) -> None:
    torch.manual_seed(0)
    network = FAMILIES["vgg-small"](weights, activations, ActivationEncoding.UNSIGNED)
    deferred = deepcopy(network)
    updates = BasisUpdates(deferred, Ranks())
    for number in range(3):
        for each, own in ((network, None), (deferred, updates)):
            torch.manual_seed(number)
            step(each, own)
    expected, found = network.state_dict(), deferred.state_dict()
    assert any(name.endswith("basis") for name in expected)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("bits", [2, 5])
def test_a_training_step_does_not_wait_for_the_device(bits: int) -> None:
    network = FAMILIES["vgg-small"](bits, bits, ActivationEncoding.UNSIGNED)
    updates = BasisUpdates(network, Ranks())
    with NothingWaits():
        step(network, updates)
    with pytest.raises(AssertionError, match="waits for the device"), NothingWaits():
        torch.ones(()).item()


def test_bases_wait_for_the_update() -> None:
    quantizer = ActivationQuantizer(2)
    updates = BasisUpdates(quantizer, Ranks())
    before = quantizer.basis.clone()
    quantizer(torch.rand(100))
    assert torch.equal(quantizer.basis, before)
    updates.update()
    after = quantizer.basis.clone()
    assert not torch.equal(after, before)
    updates.update()
    assert torch.equal(quantizer.basis, after)
    assert quantizer.step.item() == 1


def test_two_parts_of_a_step_are_fitted_as_one() -> None:
    whole, parted = ActivationQuantizer(2), ActivationQuantizer(2)
    updates = BasisUpdates(parted, Ranks())
    x = torch.arange(64) / 32
    whole(x)
    parted(x[:20])
    parted(x[20:])
    updates.update()
    assert torch.equal(whole.basis, parted.basis)


class TwoQuantizers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = ActivationQuantizer(2)
        self.second = ActivationQuantizer(2)
        self.weight = WeightQuantizer(1, 2, 9)

    def forward(self, x: Tensor, y: Tensor) -> None:
        self.first(x)
        self.second(y)
        self.weight(x[None])


def test_quantizers_without_a_fit_are_named() -> None:
    network = TwoQuantizers()
    updates = BasisUpdates(network, Ranks())
    assert updates.unfitted() == []
    network(torch.rand(50), torch.zeros(50))
    updates.update()
    assert updates.unfitted() == ["second"]


def test_a_float_network_has_no_bases() -> None:
    updates = BasisUpdates(nn.Linear(2, 2), Ranks())
    updates.update()
    assert updates.unfitted() == []
