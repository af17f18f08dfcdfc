"""Random models in all prefixes of their weight planes."""

from __future__ import annotations

from functools import cache

from golden.export import model_bytes
from golden.integer_network import IntegerNetwork
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_model
from golden.weight_prefix import prefix_graph, weight_planes

__all__ = ["LIMITS", "prefix_networks"]

LIMITS = RandomLimits(
    image=(5, 9), channels=11, planes=4, wide_planes=5, blocks=(1, 2), kernels=(1, 2, 3)
)


@cache
def prefix_networks(seed: int) -> tuple[IntegerNetwork, ...]:
    """The model of ``seed`` in its first 1, 2, ... weight planes, as integer networks."""
    graph = import_bytes(model_bytes(random_model(seed, LIMITS)))
    return tuple(lower(prefix_graph(graph, p)) for p in range(1, weight_planes(graph) + 1))
