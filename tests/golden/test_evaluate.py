"""Evaluation: counts of what differs between the float and the integer network."""

import json

import numpy as np
import pytest
from rich.console import Console

from golden.calibration import model_session
from golden.evaluate import evaluate, evaluation_table
from golden.export import model_bytes
from golden.integer_network import Arithmetic
from golden.lowering import LoweringOptions, lower
from golden.onnx_import import import_bytes
from golden.random_models import random_images, random_model

SEED = 4


@pytest.fixture(scope="module")
def content() -> bytes:
    return model_bytes(random_model(SEED))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return random_images(random_model(SEED), 12, 1)


def labels_for(content: bytes, images: np.ndarray) -> np.ndarray:

    scores = np.asarray(model_session(content).run(None, {"images": images})[0])
    return scores.reshape(len(images), -1).argmax(axis=1)


def test_float_accuracy_is_that_of_the_file(content: bytes, images: np.ndarray) -> None:
    labels = labels_for(content, images)
    assert evaluate(content, images, labels).float_accuracy == 1
    labels[:3] += 1
    result = evaluate(content, images, labels, batch=5)
    assert result.images == 12
    assert result.float_accuracy == pytest.approx(9 / 12)


def test_wide_arithmetic_differs_nowhere(content: bytes, images: np.ndarray) -> None:
    graph = import_bytes(content)
    arithmetic = Arithmetic(coefficient=34, accumulator=50, stream=30)
    network = lower(graph, arithmetic, LoweringOptions(fixed_point_bits=16, headroom=8))
    labels = labels_for(content, images)
    result = evaluate(content, images, labels, network=network)
    assert result.agreement == result.integer_accuracy == 1
    assert [activation.differing for activation in result.activations] == pytest.approx(
        [0] * len(result.activations), abs=1e-3
    )


def test_narrow_arithmetic_differs(content: bytes, images: np.ndarray) -> None:
    network = lower(import_bytes(content), Arithmetic(coefficient=4, accumulator=20, stream=5))
    result = evaluate(content, images, labels_for(content, images), network=network)
    assert max(activation.differing for activation in result.activations) > 0.001
    assert result.largest_logit_difference > 0


def test_progress_is_reported(content: bytes, images: np.ndarray) -> None:
    calls: list[tuple[int, int]] = []
    labels = np.zeros(len(images), dtype=int)
    evaluate(
        content, images, labels, batch=5, progress=lambda done, all_: calls.append((done, all_))
    )
    assert calls == [(5, 12), (10, 12), (12, 12)]


def test_reports(content: bytes, images: np.ndarray) -> None:
    result = evaluate(content, images, labels_for(content, images))
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["float_accuracy"] == 1.0
    assert len(plain["activations"]) == len(result.activations)
    shown = Console(width=100)
    with shown.capture() as capture:
        shown.print(evaluation_table(result))
    assert "accuracy, float" in capture.get()
    assert "100.00%" in capture.get()


def test_images_and_labels_must_match(content: bytes, images: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match=r"^images and labels must be equally many, not 12 and 11$"
    ):
        evaluate(content, images, np.zeros(11, dtype=int))
