"""The bases of all quantizers of a network, fitted together at the end of a training step.

A step reads the stored bases only; so fitting the new ones can wait for its end. Then one batch
of normal equations per kind and width replaces a chain of small operations per layer, and one sum
over all processes makes their bases equal.
"""

from collections import defaultdict

import torch
from torch import nn

from golden.distributed import Ranks
from golden.learned_quantizer import LearnedQuantizer, LevelStatistics, update_bases
from golden.quantizers import ActivationQuantizer


class BasisUpdates:
    """Makes the quantizers of a network leave their updates to :meth:`update`.

    Args:
        network: The network.
        ranks: The processes, each with a part of every batch. The statistics of activations are
            summed over them; weights are the same in all.
    """

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        self._ranks = ranks
        self._names = {
            module: name
            for name, module in network.named_modules()
            if isinstance(module, LearnedQuantizer)
        }
        for quantizer in self._names:
            quantizer.is_deferred = True

    def update(self) -> None:
        """Fit the bases to what the quantizers saw since the last call, without waiting for it."""
        if self._ranks.count > 1:
            self._sum_over_ranks()
        groups: dict[tuple[type, int, object], list[LearnedQuantizer]] = defaultdict(list)
        for quantizer in self._names:
            if quantizer.pending is not None:
                groups[type(quantizer), quantizer.bits, quantizer.encoding].append(quantizer)
        for quantizers in groups.values():
            update_bases(quantizers, [q.pending for q in quantizers if q.pending is not None])
        for quantizer in self._names:
            quantizer.pending = None

    def unfitted(self) -> list[str]:
        """Names of the quantizers that could not always be fitted; waits for the device."""
        if not self._names:
            return []
        counts = torch.stack([quantizer.unfitted for quantizer in self._names]).tolist()
        return [name for name, count in zip(self._names.values(), counts, strict=True) if count]

    def _sum_over_ranks(self) -> None:
        """One sum for the statistics of all activations: counts stay exact in float64."""
        waiting = [
            (quantizer, quantizer.pending)
            for quantizer in self._names
            if isinstance(quantizer, ActivationQuantizer) and quantizer.pending is not None
        ]
        if not waiting:
            return
        parts = [part for _, own in waiting for part in (own.counts, own.sums)]
        sizes = [part.numel() for part in parts]
        total = self._ranks.sum(torch.cat([part.flatten() for part in parts]))
        summed = iter(total.split(sizes))
        for quantizer, own in waiting:
            counts, sums = next(summed), next(summed)
            quantizer.pending = LevelStatistics(
                counts.view_as(own.counts), sums.view_as(own.sums), own.order
            )
