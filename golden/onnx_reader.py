"""Checked access to one ONNX node: attributes, data inputs and stored parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from golden.graph import ModelError, Node, Padding, Shape, window_outputs

__all__ = ["NodeReader", "read_initializers"]


def read_initializers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The stored tensors of a file by name."""
    initializers: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ModelError(f"initializer {tensor.name!r} must be inside the file, not external")
        try:
            initializers[tensor.name] = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"initializer {tensor.name!r} must hold a valid tensor, not: {error}"
            ) from None
    return initializers


class NodeReader:
    """One ONNX node with its attributes, inputs and parameters, checked on access.

    Args:
        proto: The node.
        nodes: The nodes read so far, by tensor name.
        initializers: Stored tensors by name.
        image_shape: Height, width, channels of the raw images.
    """

    def __init__(
        self,
        proto: onnx.NodeProto,
        nodes: Mapping[str, Node],
        initializers: Mapping[str, np.ndarray],
        image_shape: tuple[int, int, int],
    ) -> None:
        self.name = proto.output[0]
        self.operator = proto.op_type
        self.image_shape = image_shape
        self.inputs = list(proto.input)
        self._nodes = nodes
        self._initializers = initializers
        self._attributes = {
            entry.name: helper.get_attribute_value(entry) for entry in proto.attribute
        }

    def error(self, text: str) -> ModelError:
        """A refusal that names this node."""
        return ModelError(f"node {self.name!r}: {text}")

    def require(self, condition: bool, text: str) -> None:
        """Raise unless ``condition`` holds."""
        if not condition:
            raise self.error(text)

    def shape(self, index: int = 0) -> Shape:
        """Shape of a data input."""
        self.require(
            index < len(self.inputs), f"inputs must be at least {index + 1}, not {len(self.inputs)}"
        )
        tensor = self.inputs[index]
        if tensor not in self._nodes:
            raise self.error(f"input must be written by an earlier node, not {tensor!r}")
        return self._nodes[tensor].shape

    def image(self, index: int = 0) -> tuple[int, int, int]:
        """Channels, height and width of a data input."""
        shape = self.shape(index)
        if len(shape) != 3:
            raise self.error(f"input must be [channels, height, width], not {list(shape)}")
        channels, height, width = shape
        return channels, height, width

    def features(self) -> int:
        """Length of the vector input."""
        shape = self.shape()
        if len(shape) != 1:
            raise self.error(f"input must be a vector, not {list(shape)}")
        return shape[0]

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def parameter(
        self, index: int, label: str, shape: Shape | None = None, dtype: type = np.float32
    ) -> np.ndarray:
        """A stored input; float ones are finite and come as float64."""
        if not self.has(index) or self.inputs[index] not in self._initializers:
            found = self.inputs[index] if self.has(index) else "nothing"
            raise self.error(f"{label} must be an initializer, not {found!r}")
        values = self._initializers[self.inputs[index]]
        expected = np.dtype(dtype)
        self.require(values.dtype == expected, f"{label} must be {expected}, not {values.dtype}")
        if shape is not None:
            self.require(
                values.shape == shape,
                f"{label} must have the shape {list(shape)}, not {list(values.shape)}",
            )
        if expected.kind == "f":
            self.require(bool(np.isfinite(values).all()), f"{label} must be finite, not NaN or inf")
            return values.astype(np.float64)
        return values

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        value = self._attributes.get(name, default)
        if not isinstance(value, int):
            raise self.error(f"attribute {name!r} must be an integer, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        value = self._attributes.get(name, default)
        if not isinstance(value, float):
            raise self.error(f"attribute {name!r} must be a float, not {value!r}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string attribute."""
        value = self._attributes.get(name, None if default is None else default.encode())
        if not isinstance(value, bytes):
            raise self.error(f"attribute {name!r} must be a text, not {value!r}")
        return value.decode(errors="replace")

    def integers(self, name: str, count: int, default: list[int] | None = None) -> list[int]:
        """An attribute of ``count`` integers."""
        value = self._attributes.get(name, default)
        if not isinstance(value, list) or len(value) != count:
            raise self.error(f"attribute {name!r} must be {count} integers, not {value!r}")
        return value

    def forbid(self, **allowed: object) -> None:
        """Refuse attributes with other values than these, the operator's plain ones."""
        for name, value in allowed.items():
            found = self._attributes.get(name, value)
            self.require(found == value, f"attribute {name!r} must be {value!r}, not {found!r}")

    def window(self) -> tuple[tuple[int, int], tuple[int, int], Padding]:
        """Window size, stride and padding, in range."""
        height, width = self.integers("kernel_shape", 2)
        down, right_step = self.integers("strides", 2, [1, 1])
        top, left, bottom, right = self.integers("pads", 4, [0, 0, 0, 0])
        self.require(
            min(height, width, down, right_step) >= 1,
            f"window and strides must be positive, not {[height, width]} and {[down, right_step]}",
        )
        self.require(
            min(top, bottom) >= 0
            and max(top, bottom) < height
            and min(left, right) >= 0
            and max(left, right) < width,
            f"pads must be in 0..window - 1, not {[top, left, bottom, right]}",
        )
        self.forbid(auto_pad=b"NOTSET", dilations=[1, 1])
        return (height, width), (down, right_step), (top, left, bottom, right)

    def window_shape(
        self, channels: int, window: tuple[int, int], stride: tuple[int, int], padding: Padding
    ) -> Shape:
        """Output shape of a window operator on the first input."""
        _, height, width = self.image()
        top, left, bottom, right = padding
        rows = window_outputs(height, top, bottom, window[0], stride[0])
        columns = window_outputs(width, left, right, window[1], stride[1])
        self.require(
            min(rows, columns) >= 1,
            f"window must fit the input, not {list(window)} on {[height, width]}",
        )
        return channels, rows, columns

    def data(self, count: int) -> tuple[str, ...]:
        """Names of the first ``count`` inputs."""
        for index in range(count):
            self.shape(index)
        return tuple(self.inputs[:count])
