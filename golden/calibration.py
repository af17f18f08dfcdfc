"""Ranges of the float tensors of an exported model over sample images."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime

from golden.graph import ModelError
from golden.qonnx_import import is_qonnx

__all__ = ["measure_ranges", "model_session", "round_up"]

FLOAT_PRODUCERS = {"LearnedActivation", "ImageInput"}
"""Operators whose output has fixed values: no range is measured."""


def round_up(value: float, digits: int = 3) -> float:
    """``value`` (>= 0) rounded up to ``digits`` significant digits.

    Absorbs the last-bit differences between machines, so that files stay byte for byte equal.
    """
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{math.ceil(value / unit - 1e-6) * unit:.{digits + 1}g}")


def model_session(content: bytes, outputs: list[str] | None = None) -> onnxruntime.InferenceSession:
    """Session of the model that yields the tensors ``outputs`` instead of the file's own.

    Raises:
        ModelError: If the file is QONNX, whose quantizers onnxruntime does not have.
    """
    model = onnx.load_model_from_string(content)
    if is_qonnx(model):
        raise ModelError(
            "model must be a file that onnxruntime runs, not QONNX: the float network is run too, "
            "and QONNX quantizers are no ONNX operators"
        )
    if outputs is not None:
        del model.graph.output[:]
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in outputs
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def measure_ranges(content: bytes, images: np.ndarray, batch: int = 50) -> dict[str, float]:
    """Largest |x| of every float tensor, by name.

    Args:
        content: The exported model.
        images: uint8 [N, height, width, channels].
        batch: Images per run.
    """
    if len(images) == 0:
        raise ValueError("calibration images must be at least one, not 0")
    model = onnx.load_model_from_string(content)
    names = [node.output[0] for node in model.graph.node if node.op_type not in FLOAT_PRODUCERS]
    session = model_session(content, names)
    ranges = dict.fromkeys(names, 0.0)
    for start in range(0, len(images), batch):
        values = session.run(names, {"images": images[start : start + batch]})
        for name, value in zip(names, values, strict=True):
            largest = float(np.abs(value).max())
            if not math.isfinite(largest):
                raise ValueError(f"values of tensor {name!r} must be finite, not {largest}")
            ranges[name] = max(ranges[name], largest)
    return {name: round_up(value) for name, value in ranges.items()}
