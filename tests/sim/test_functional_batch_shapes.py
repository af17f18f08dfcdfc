"""Batches of networks whose images do not lie in a tensor as the tiles of a layer do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import pytest

from compiler.compile import compile_network
from compiler.program import ProgramError
from golden.batching import batched
from golden.export import add_ranges, model_bytes
from golden.float_weights import round_float_weights
from golden.graph import ModelError
from golden.graph_builder import NO_PADDING, GraphBuilder
from golden.lowering import lower
from golden.onnx_import import import_bytes
from golden.random_models import random_images
from tests.sim.tensor_comparison import wrong_tensors
from tests.sim.test_functional_batches import crowded, roomy

Size = tuple[int, int]
AROUND = (1, 1, 1, 1)
CROWDED = replace(crowded(), memory=replace(crowded().memory, activation_words=2048))
CONFIGS = {config.name: config for config in (roomy(), CROWDED)}
RANDOM_CASES = 16


@dataclass
class Author:
    """Writes a network layer by layer; ``x`` is the tensor that was written last."""

    rng: np.random.Generator
    size: Size
    channels: int = 6
    builder: GraphBuilder = field(init=False)
    x: str = field(init=False)
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.builder = GraphBuilder("shapes", (*self.size, 3))
        weights = round_float_weights(self.rng.normal(0, 0.3, (self.channels, 3, 3, 3)), 8)
        self.x = self.builder.convolution("first", self.builder.image, weights, padding=AROUND)

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def shape(self) -> tuple[int, ...]:
        return self.builder.shape(self.x)

    def normalize(self) -> None:
        channels = self.shape()[0]
        self.x = self.builder.batch_norm(
            self.name("bn"),
            self.x,
            self.rng.uniform(0.5, 1.5, channels),
            self.rng.normal(0.3, 0.5, channels),
            self.rng.normal(0, 0.3, channels),
            self.rng.uniform(0.2, 2, channels),
        )
        self.x = self.builder.relu(self.name("relu"), self.x)

    def convolve(
        self, kernel: Size, padding: tuple[int, ...] = NO_PADDING, stride: int = 1
    ) -> None:
        basis = np.array([0.6, 1.3])
        self.x = self.builder.learned_activation(self.name("act"), self.x, basis, "unsigned")
        channels = self.shape()[0]
        codes = self.rng.integers(0, 4, (self.channels, channels, *kernel))
        scale = np.array([[1.0], [2.0]]) / np.sqrt(channels * kernel[0] * kernel[1])
        bases = self.rng.uniform(0.3, 1, (2, self.channels)) * scale
        self.x = self.builder.quantized_convolution(
            self.name("conv"),
            self.x,
            codes,
            bases,
            None,
            stride=(stride, stride),
            padding=padding,
        )

    def add(self, other: str) -> None:
        self.x = self.builder.add(self.name("add"), self.x, other)

    def pool(self, window: Size, *, mean: bool = False) -> None:
        pool = self.builder.average_pool if mean else self.builder.max_pool
        self.x = pool(self.name("pool"), self.x, window, window)

    def model(self, *, mean_last: bool = False) -> onnx.ModelProto:
        """Ends in a linear layer, or in a convolution and the mean of all its pixels."""
        if mean_last:
            self.x = self.builder.global_average_pool("mean", self.x)
            self.x = self.builder.flatten("flat", self.x)
        else:
            self.x = self.builder.flatten("flat", self.x)
            features = self.shape()[0]
            codes = self.rng.integers(0, 4, (5, features))
            scale = np.array([[1.0], [2.0]]) / np.sqrt(features)
            bases = self.rng.uniform(0.3, 1, (2, 5)) * scale
            self.x = self.builder.quantized_linear("linear", self.x, codes, bases, None)
        model = self.builder.model(self.x, labels=())
        add_ranges(model, random_images(model, 4, 1))
        return model


def pooled_logits(author: Author, kernel: Size, padding: tuple[int, ...]) -> onnx.ModelProto:
    author.normalize()
    author.convolve(kernel, padding)
    return author.model(mean_last=True)


def pooled_sum(author: Author, kernel: Size, padding: tuple[int, ...]) -> onnx.ModelProto:
    """A pool, whose windows leave out the last row, behind an addition."""
    author.normalize()
    start = author.x
    author.convolve((3, 3), AROUND)
    author.normalize()
    author.convolve(kernel, padding)
    author.add(start)
    author.normalize()
    author.pool((2, 2))
    return author.model()


def pooled(author: Author, window: Size, *, mean: bool) -> onnx.ModelProto:
    author.normalize()
    author.convolve((1, 1))
    author.normalize()
    author.pool(window, mean=mean)
    return author.model()


def halved_shortcut(author: Author) -> onnx.ModelProto:
    """A shortcut of means of 2 x 2 pixels, which leaves out the last row."""
    author.normalize()
    start = author.x
    author.convolve((3, 3), NO_PADDING, stride=2)
    author.normalize()
    author.convolve((3, 3), AROUND)
    short = author.builder.average_pool("short", start, (2, 2), (2, 2))
    author.add(short)
    author.normalize()
    return author.model()


SHAPES: dict[str, tuple[Size, Callable[[Author], onnx.ModelProto]]] = {
    "logits pooled, padded": ((6, 6), lambda a: pooled_logits(a, (3, 3), AROUND)),
    "logits pooled": ((6, 6), lambda a: pooled_logits(a, (1, 1), NO_PADDING)),
    "sum pooled, 7 rows": ((7, 7), lambda a: pooled_sum(a, (3, 3), AROUND)),
    "sum pooled, 8 rows": ((8, 8), lambda a: pooled_sum(a, (3, 3), AROUND)),
    "sum pooled, 1 x 1": ((7, 7), lambda a: pooled_sum(a, (1, 1), NO_PADDING)),
    "sum pooled, 13 rows": ((13, 13), lambda a: pooled_sum(a, (3, 3), AROUND)),
    "a mean of 2 of 3 rows": ((3, 6), lambda a: pooled(a, (2, 2), mean=True)),
    "a maximum of 2 of 3 rows": ((3, 6), lambda a: pooled(a, (2, 2), mean=False)),
    "a mean of 5 of 7 rows": ((7, 6), lambda a: pooled(a, (5, 2), mean=True)),
    "halved shortcut on 7 rows": ((7, 7), halved_shortcut),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_are_exact_where_pools_and_residuals_leave_out_rows(
    shape: str, config: str
) -> None:
    size, write = SHAPES[shape]
    model = write(Author(np.random.default_rng(1), size))
    network = lower(import_bytes(model_bytes(model)))
    images = random_images(model, 3, 7)
    for count in (1, 3):
        program = compile_network(batched(network, count), CONFIGS[config])
        assert wrong_tensors(network, program, CONFIGS[config], images[:count]) == [], count


def random_shape(rng: np.random.Generator) -> onnx.ModelProto:
    """Convolutions with residuals, and pools of all sizes behind them."""
    size = int(rng.integers(5, 15)), int(rng.integers(5, 15))
    author = Author(rng, size, channels=int(rng.integers(2, 8)))
    for _ in range(int(rng.integers(1, 4))):
        author.normalize()
        start = author.x
        is_padded = rng.random() < 0.4
        author.convolve((3, 3) if is_padded else (1, 1), AROUND if is_padded else NO_PADDING)
        if rng.random() < 0.6:
            author.add(start)
        author.normalize()
        window = int(rng.integers(2, 4)), int(rng.integers(2, 4))
        if min(author.shape()[1:]) >= 3 and rng.random() < 0.8:
            author.pool(window, mean=rng.random() < 0.5)
            author.convolve((1, 1))
    author.normalize()
    author.convolve((1, 1))
    return author.model(mean_last=rng.random() < 0.4)


@pytest.mark.parametrize("case", range(RANDOM_CASES))
def test_batches_of_random_shapes_are_exact_where_an_image_alone_has_a_program(case: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    config = CONFIGS["roomy" if case % 2 else "crowded"]
    while True:
        try:
            model = random_shape(rng)
            network = lower(import_bytes(model_bytes(model)))
            compile_network(network, config)
            count = int(rng.integers(2, 5))
            program = compile_network(batched(network, count), config)
        except (ModelError, ProgramError):
            continue
        images = random_images(model, count, 7)
        assert wrong_tensors(network, program, config, images) == []
        return
