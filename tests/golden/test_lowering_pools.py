"""Maximum pools on codes: the values are those of pools on the stream."""

from __future__ import annotations

import random

import numpy as np
import pytest

import golden.lowering
from golden.export import model_bytes
from golden.integer_network import (
    CodeOutput,
    ConvolutionLayer,
    IntegerNetwork,
    PoolKind,
    StreamLayer,
)
from golden.integer_reference import IntegerReference
from golden.lowering import lower
from golden.lowering_pools import ascending_weights
from golden.onnx_import import import_bytes
from golden.random_models import RandomLimits, random_images, random_model

LIMITS = RandomLimits(image=(9, 16), channels=9, blocks=(1, 2))


def is_pooled_on_codes(layer: object) -> bool:
    return isinstance(layer, ConvolutionLayer) and layer.source.endswith(".unpooled")


def both_ways(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[IntegerNetwork, IntegerNetwork, np.ndarray]:
    """A random network as it is, and with its pools on streams; two images."""
    model = random_model(seed, LIMITS)
    content, images = model_bytes(model), random_images(model, 2, seed)
    on_codes = lower(import_bytes(content))
    with monkeypatch.context() as patch:
        patch.setattr(golden.lowering, "pool_on_codes", lambda layers: layers)
        return on_codes, lower(import_bytes(content)), images


def test_all_tensors_are_those_of_pools_on_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    found = minima = kept = 0
    for seed in range(200):
        on_codes, on_streams, images = both_ways(seed, monkeypatch)
        pooled = [layer for layer in on_codes.layers if is_pooled_on_codes(layer)]
        if not pooled:
            continue
        names = [
            name
            for layer in on_codes.layers
            for name in (layer.outputs and layer.outputs.tensor,)
            if name is not None and not name.endswith(".unpooled")
        ]
        expected = IntegerReference(on_streams).run(images, keep=names)
        given = IntegerReference(on_codes).run(images, keep=names)
        for name in names:
            assert np.array_equal(given[name], expected[name]), (seed, name)
        found += len(pooled)
        minima += any(layer.pool is not None and layer.pool.minimum.any() for layer in pooled)
        kept += any(
            isinstance(layer, ConvolutionLayer)
            and layer.stream is not None
            and layer.outputs is not None
            and layer.outputs.tensor.endswith(".unpooled")
            for layer in on_codes.layers
        )
        if found >= 12 and minima and kept:
            break
    assert found >= 12
    assert minima
    assert kept


def readers(network: IntegerNetwork, stream: str) -> int:
    """Layers that read a stream."""
    return sum(
        layer.source == stream
        if isinstance(layer, StreamLayer)
        else layer.residual is not None and layer.residual.tensor == stream
        for layer in network.layers
    )


def test_no_pool_of_codes_is_left_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        on_codes, on_streams, _ = both_ways(seed, monkeypatch)
        for layer in on_codes.layers:
            if (
                isinstance(layer, StreamLayer)
                and isinstance(layer.outputs, CodeOutput)
                and layer.pool is not None
                and layer.pool.kind is PoolKind.MAXIMUM
                and layer.shift == layer.stream_shift == 0
            ):
                few = ascending_weights(layer.outputs.codes) is not None
                assert not few or readers(on_codes, layer.source) > 1, seed
        assert len(on_codes.layers) == len(on_streams.layers)
        for layer in on_codes.layers:
            if is_pooled_on_codes(layer):
                assert layer.pool is not None
                assert layer.pool.kind is PoolKind.MAXIMUM


def test_weights_ascend_with_the_levels() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for _ in range(50):
        planes = int(rng.integers(1, 5))
        basis = np.sort(rng.integers(1, 9, planes))
        bits = np.arange(1 << planes)[:, None] >> np.arange(planes) & 1
        sums = bits @ basis
        codes = np.argsort(sums, kind="stable")
        weights = ascending_weights(codes)
        if len(set(sums)) < len(sums):
            continue
        assert weights is not None
        assert (np.diff((codes[:, None] >> np.arange(planes) & 1) @ weights) > 0).all()


def test_a_plane_that_never_changes_has_no_weight() -> None:
    assert ascending_weights(np.array([4, 5, 6, 7])) == (1, 2, 0)


def test_codes_without_ascending_weights_are_left_alone() -> None:
    assert ascending_weights(np.array([3, 0, 1, 2])) is None
    assert ascending_weights(np.arange(32)) is None
