"""Scaled-down networks, exported, imported and lowered: integers compute what floats compute."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from golden.calibration import measure_ranges, model_session
from golden.evaluate import evaluate
from golden.example_model import calibrate, example_images
from golden.export import export_model, round_full_precision
from golden.integer_network import Arithmetic, RawOutput
from golden.integer_reference import logits_name, run
from golden.lowering import LoweringOptions, lower
from golden.network import LqNetwork
from golden.onnx_import import import_bytes
from golden.quantizers import ActivationEncoding
from golden.vgg_small import VggSmall

UNSIGNED, SIGNED = ActivationEncoding
WIDE = Arithmetic(coefficient=34, accumulator=50, stream=30)
"""So many bits that rounding hardly matters."""

Build = Callable[[int | None, int | None, ActivationEncoding], LqNetwork]

FAMILIES: dict[str, Build] = {
    "vgg-small": lambda w, a, e: VggSmall(w, a, e, widths=(8, 12, 16), image_size=16),
}


def exported(
    path: Path, family: str, weights: int | None, activations: int | None, code: ActivationEncoding
) -> tuple[LqNetwork, bytes, np.ndarray]:
    """A calibrated network, its file, and images it was not calibrated on."""
    torch.manual_seed(1)
    network = FAMILIES[family](weights, activations, code)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.6)
            nn.init.normal_(module.bias, 0.0, 0.2)
    round_full_precision(network)
    images = example_images(network.image_shape, 6)
    calibrate(network, images)
    export_model(network, path, calibration_images=images)
    return network, path.read_bytes(), example_images(network.image_shape, 3, seed=2)


def float_logits(content: bytes, images: np.ndarray) -> np.ndarray:
    value = np.asarray(model_session(content).run(None, {"images": images})[0])
    return value.reshape(len(images), -1)


def check_equivalence(path: Path, family: str, *widths: int | None | ActivationEncoding) -> None:
    """onnxruntime computes torch's scores; with wide arithmetic integers compute them too."""
    network, content, images = exported(path / "model.onnx", family, *widths)
    with torch.no_grad():
        scores = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    expected = float_logits(content, images)
    size = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(expected, scores, rtol=0, atol=1e-4 * size)
    options = LoweringOptions(ranges=measure_ranges(content, images), fixed_point_bits=16)
    integers = lower(import_bytes(content), WIDE, options)
    output = integers.layers[-1].outputs
    assert isinstance(output, RawOutput)
    name = logits_name(integers)
    raw = run(integers, images, keep=(name,))[name]
    found = np.ldexp(raw.transpose(0, 3, 1, 2).reshape(len(images), -1), -output.fraction)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * size)


@pytest.mark.parametrize("encoding", ActivationEncoding)
@pytest.mark.parametrize("bits", [(1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (8, 8), (2, None)])
@pytest.mark.parametrize("family", ["vgg-small"])
def test_every_width_of_vgg_small(
    tmp_path: Path, family: str, bits: tuple[int, int | None], encoding: ActivationEncoding
) -> None:
    check_equivalence(tmp_path, family, *bits, encoding)


@pytest.mark.parametrize("family", FAMILIES)
def test_default_arithmetic_changes_few_codes(tmp_path: Path, family: str) -> None:
    _, content, images = exported(tmp_path / "model.onnx", family, 2, 2, UNSIGNED)
    result = evaluate(content, images, np.zeros(len(images), np.int64))
    first, *rest = [entry.differing for entry in result.activations]
    assert first < 1e-3
    assert max(rest) < 0.1
