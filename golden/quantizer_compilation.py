"""The quantizers' passes over the activations, compiled to one loop each."""

from collections.abc import Callable

import torch
from torch import nn

from golden.quantizers import ActivationQuantizer, compare_and_sum, gate_gradient


def compile_quantizers(
    network: nn.Module, device: torch.device, report: Callable[[str], None]
) -> None:
    """Fuse each pass of the activation quantizers into one loop (2.5 times the speed on a CPU).

    Without a compiler (C++ for the CPU, Triton for GPUs) the network stays as it is, and
    ``report`` is told so.
    """
    statistics = torch.compile(compare_and_sum, dynamic=False)
    gate = torch.compile(gate_gradient, dynamic=False)
    values = torch.zeros(8, device=device)
    try:
        statistics(values, values[:1], values[:2])
        gate(values, values, values[0])
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        report(f"training without a compiler, which is slower: {reason}")
        return
    for module in network.modules():
        if isinstance(module, ActivationQuantizer):
            module.statistics = statistics
            module.gate = gate
