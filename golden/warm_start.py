"""Tensors of a checkpoint or of an exported model, as the starting point of a training.

An exported model has lost the latent weights: each weight starts from its level, which is in the
middle of what rounds to it (the lowest and the highest level but for their open sides).

A model of exact numbers (:mod:`golden.exact_parameters`), or another that was changed after its
export, has lost the statistics of its normalisations, too: they are measured on training images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from golden import checkpoint
from golden.checkpoint import CheckpointError
from golden.export import node_name
from golden.graph import (
    Convolution,
    Graph,
    LearnedActivation,
    Linear,
    ModelError,
    QuantizedWeights,
)
from golden.layers import LayerwideBatchNorm, QuantConv2d, QuantLinear
from golden.learned_quantizer import SETTLED_STEP, LearnedQuantizer
from golden.network import LqNetwork
from golden.onnx_import import import_bytes
from golden.onnx_reader import read_initializers

__all__ = ["measure_statistics", "starting_tensors"]


def starting_tensors(
    path: Path, network: LqNetwork, sample: Callable[[], Tensor] | None = None
) -> dict[str, Tensor]:
    """Tensors by their names in ``network``, of a checkpoint or an exported model (``.onnx``).

    Args:
        path: The file.
        network: The network to be started; it stays as it is.
        sample: Makes training images, raw pixels [N, 3, H, W], on which a model of exact numbers
            has its statistics measured.

    Raises:
        CheckpointError: If the file is neither, or holds another network or other shapes.
    """
    if path.suffix != ".onnx":
        return checkpoint.load_tensors(path, network)
    try:
        content = path.read_bytes()
        graph = import_bytes(content)
    except (OSError, ModelError) as error:
        raise CheckpointError(f"{path} must be an exported model: {error}") from error
    if graph.name != network.name:
        raise CheckpointError(f"{path} must hold a {network.name}, not a {graph.name}")
    arrays = read_initializers(onnx.load_model_from_string(content).graph)
    tensors: dict[str, Tensor] = {}
    for module_path, module in network.named_modules():
        for name, values in _module_tensors(graph, arrays, node_name(module_path), module):
            tensors[f"{module_path}.{name}"] = torch.from_numpy(np.array(values))
    checkpoint.check_tensors(path, tensors, network)
    if not _has_statistics(arrays):
        if any(isinstance(module, LayerwideBatchNorm) for module in network.modules()):
            raise CheckpointError(
                f"{path} must be exported without --exact for a network that normalizes whole "
                "layers, as exact scales are per channel"
            )
        if sample is None:
            return tensors
        started = copy.deepcopy(network)
        checkpoint.take_over(started, tensors)
        measure_statistics(started, sample())
        measured = started.state_dict()
        tensors = {name: measured[name] for name in tensors}
    return tensors


@torch.no_grad()
def measure_statistics(network: nn.Module, pixels: Tensor) -> None:
    """Give each normalisation the mean and variance of its input, and the factors with which it
    computes what it did before.

    Args:
        network: In any state; its evaluation computes the same afterwards, but for rounding.
        pixels: Raw pixels [N, 3, H, W].
    """

    def settle(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        assert module.running_mean is not None
        assert module.running_var is not None
        variance, mean = torch.var_mean(inputs[0].double(), dim=(0, 2, 3), correction=0)
        gain = module.weight / (module.running_var + module.eps).sqrt()
        offset = module.bias - module.running_mean * gain
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)
        module.weight.copy_(gain * (variance + module.eps).sqrt())
        module.bias.copy_(offset + gain * mean)

    norms = [module for module in network.modules() if type(module) is nn.BatchNorm2d]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    training = network.training
    network.eval()(pixels)
    network.train(training)
    for hook in hooks:
        hook.remove()


def _has_statistics(arrays: dict[str, np.ndarray]) -> bool:
    """Whether normalisations were written with the mean and variance of their inputs."""
    means = [values for name, values in arrays.items() if name.endswith(".mean")]
    return not means or any(values.any() for values in means)


def _module_tensors(
    graph: Graph, arrays: dict[str, np.ndarray], name: str, module: nn.Module
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that the file has for a module; none if the file knows no such module."""
    node = next((node for node in graph.nodes if node.name == name), None)
    if isinstance(module, LayerwideBatchNorm) and f"{name}.mean" in arrays:
        # The file has the one mean and variance once per channel.
        yield "running_mean", arrays[f"{name}.mean"][:1]
        yield "running_var", arrays[f"{name}.variance"][:1]
        yield "num_batches_tracked", np.int64(SETTLED_STEP)
    elif isinstance(module, nn.BatchNorm2d) and f"{name}.gamma" in arrays:
        yield "weight", arrays[f"{name}.gamma"]
        yield "bias", arrays[f"{name}.beta"]
        yield "running_mean", arrays[f"{name}.mean"]
        yield "running_var", arrays[f"{name}.variance"]
        yield "num_batches_tracked", np.int64(SETTLED_STEP)
    elif isinstance(module, QuantConv2d | QuantLinear) and isinstance(node, Convolution | Linear):
        yield "weight", node.weights.values.astype(np.float32)
        if module.bias is not None:
            yield "bias", node.bias.astype(np.float32)
        if isinstance(node.weights, QuantizedWeights):
            yield from _basis("weight_quant.", node.weights.basis)
    elif isinstance(module, LearnedQuantizer) and isinstance(node, LearnedActivation):
        yield from _basis("", node.basis)


def _basis(prefix: str, basis: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{prefix}basis", basis.astype(np.float32)
    yield f"{prefix}biased", basis.astype(np.float32)
    yield f"{prefix}step", np.int64(SETTLED_STEP)
