"""How many images a network classifies correctly."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from golden.data import Images
from golden.training_data import TEST_BATCH, Batch, as_tensors


@torch.no_grad()
def count_correct(network: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """How many images the network classifies correctly, int64 []; computed in float32."""
    training = network.training
    network.eval()
    hits = [
        (network(pixels.permute(0, 3, 1, 2)).argmax(1) == labels).sum()
        for pixels, labels in batches
    ]
    network.train(training)
    return torch.stack(hits).sum() if hits else torch.zeros((), dtype=torch.int64)


def evaluate(network: nn.Module, images: Images) -> float:
    """Share of ``images`` (0..1) that the network classifies correctly, computed in float32."""
    pixels, labels = as_tensors(images)
    batches = zip(pixels.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)
    return int(count_correct(network, batches)) / len(labels)
