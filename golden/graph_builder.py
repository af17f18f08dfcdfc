"""Builder of ONNX models in the project's format, layer by layer.

Every method appends one node, named like the tensor it writes, and returns that name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from golden.graph import Padding, Shape, window_outputs
from golden.onnx_functions import DOMAIN, IR_VERSION, functions, opset_imports

__all__ = ["FORMAT_VERSION", "INPUT", "GraphBuilder"]

FORMAT_VERSION = 1
INPUT = "images"
NO_PADDING: Padding = (0, 0, 0, 0)


class GraphBuilder:
    """One model under construction.

    Attributes:
        image: Name of the normalised image tensor [channels, height, width].

    Args:
        name: Name of the network.
        image_shape: Height, width and channels of the raw images.
    """

    def __init__(self, name: str, image_shape: tuple[int, int, int]) -> None:
        self.name = name
        self._image_shape = image_shape
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._shapes: dict[str, Shape] = {}
        height, width, channels = image_shape
        self.image = self._append(
            "ImageInput", "image", [INPUT], (channels, height, width), domain=DOMAIN
        )

    def shape(self, tensor: str) -> Shape:
        """Shape of a tensor without the batch."""
        return self._shapes[tensor]

    def convolution(
        self,
        name: str,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = NO_PADDING,
    ) -> str:
        """Float convolution; ``weight`` [Cout, Cin, kh, kw], ``bias`` [Cout]."""
        inputs = [x, self._store(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self._store(f"{name}.bias", bias))
        kernel = weight.shape[2:]
        return self._append(
            "Conv",
            name,
            inputs,
            self._window_shape(x, weight.shape[0], kernel, stride, padding),
            kernel_shape=kernel,
            strides=stride,
            pads=padding,
        )

    def quantized_convolution(
        self,
        name: str,
        x: str,
        codes: np.ndarray,
        basis: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = NO_PADDING,
    ) -> str:
        """Convolution with coded weights; ``codes`` [Cout, Cin, kh, kw], ``basis`` [K, Cout]."""
        kernel = codes.shape[2:]
        return self._append(
            "QuantizedConv",
            name,
            self._quantized_inputs(name, x, codes, basis, bias),
            self._window_shape(x, codes.shape[0], kernel, stride, padding),
            domain=DOMAIN,
            kernel_shape=kernel,
            strides=stride,
            pads=padding,
            weight_bits=len(basis),
            in_channels=codes.shape[1],
            out_channels=codes.shape[0],
        )

    def linear(self, name: str, x: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """Float matrix product; ``weight`` [out, in], ``bias`` [out].

        Weights that float16 holds as they are, such as exact ones, are stored so.
        """
        half = weight.astype(np.float16)
        if bias is not None and np.array_equal(half.astype(np.float64), weight):
            tensor = numpy_helper.from_array(np.ascontiguousarray(half), f"{name}.weight")
            self._initializers.append(tensor)
            inputs = [x, tensor.name, self._store(f"{name}.bias", bias)]
            return self._append("HalfLinear", name, inputs, (weight.shape[0],), domain=DOMAIN)
        inputs = [x, self._store(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self._store(f"{name}.bias", bias))
        return self._append("Gemm", name, inputs, (weight.shape[0],), transB=1)

    def quantized_linear(
        self,
        name: str,
        x: str,
        codes: np.ndarray,
        basis: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> str:
        """Matrix product with coded weights; ``codes`` [out, in], ``basis`` [K, out]."""
        return self._append(
            "QuantizedLinear",
            name,
            self._quantized_inputs(name, x, codes, basis, bias),
            (codes.shape[0],),
            domain=DOMAIN,
            weight_bits=len(basis),
            in_channels=codes.shape[1],
            out_channels=codes.shape[0],
        )

    def learned_activation(self, name: str, x: str, basis: np.ndarray, encoding: str) -> str:
        """Activation quantizer; ``basis`` [K], ``encoding`` "unsigned" or "signed"."""
        return self._append(
            "LearnedActivation",
            name,
            [x, self._store(f"{name}.basis", basis)],
            self._shapes[x],
            domain=DOMAIN,
            bits=len(basis),
            encoding=encoding,
        )

    def batch_norm(
        self,
        name: str,
        x: str,
        gamma: np.ndarray,
        beta: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        epsilon: float = 1e-5,
    ) -> str:
        """Batch normalisation with stored statistics, each [channels]."""
        parameters = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        inputs = [x, *(self._store(f"{name}.{key}", item) for key, item in parameters.items())]
        return self._append("BatchNormalization", name, inputs, self._shapes[x], epsilon=epsilon)

    def relu(self, name: str, x: str) -> str:
        """max(x, 0)."""
        return self._append("Relu", name, [x], self._shapes[x])

    def max_pool(
        self,
        name: str,
        x: str,
        window: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding = NO_PADDING,
    ) -> str:
        """Maximum over windows; padding (top, left, bottom, right) never wins."""
        shape = self._window_shape(x, self._shapes[x][0], window, stride, padding)
        return self._append(
            "MaxPool", name, [x], shape, kernel_shape=window, strides=stride, pads=padding
        )

    def average_pool(
        self, name: str, x: str, window: tuple[int, int], stride: tuple[int, int]
    ) -> str:
        """Mean over windows."""
        shape = self._window_shape(x, self._shapes[x][0], window, stride, NO_PADDING)
        return self._append("AveragePool", name, [x], shape, kernel_shape=window, strides=stride)

    def global_average_pool(self, name: str, x: str) -> str:
        """Mean over the image: [channels, 1, 1]."""
        return self._append("GlobalAveragePool", name, [x], (self._shapes[x][0], 1, 1))

    def add(self, name: str, a: str, b: str) -> str:
        """Sum of two tensors of equal shape."""
        return self._append("Add", name, [a, b], self._shapes[a])

    def channel_pad(self, name: str, x: str, before: int, after: int) -> str:
        """Zero channels before and after."""
        channels, height, width = self._shapes[x]
        pads = np.array([0, before, 0, 0, 0, after, 0, 0], dtype=np.int64)
        return self._append(
            "Pad",
            name,
            [x, self._store(f"{name}.pads", pads)],
            (before + channels + after, height, width),
            mode="constant",
        )

    def concat(self, name: str, inputs: Sequence[str]) -> str:
        """Concatenation along the channels."""
        channels = sum(self._shapes[tensor][0] for tensor in inputs)
        shape = (channels, *self._shapes[inputs[0]][1:])
        return self._append("Concat", name, list(inputs), shape, axis=1)

    def flatten(self, name: str, x: str) -> str:
        """[channels, height, width] to [features] in that order."""
        return self._append("Flatten", name, [x], (int(np.prod(self._shapes[x])),), axis=1)

    def fixed_point(self, name: str, x: str, fraction: int, bits: int) -> str:
        """Rounded to ``fraction`` fraction bits, saturated to ``bits`` signed bits in all."""
        return self._append(
            "FixedPoint", name, [x], self._shapes[x], domain=DOMAIN, fraction=fraction, bits=bits
        )

    def model(
        self,
        output: str,
        *,
        labels: Sequence[str] = (),
        weight_bits: int | None = None,
        activation_bits: int | None = None,
    ) -> onnx.ModelProto:
        """The finished model; ``output`` names the tensor with the scores."""
        image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *self._image_shape])
        scores = helper.make_tensor_value_info(
            output, TensorProto.FLOAT, ["N", *self._shapes[output]]
        )
        graph = helper.make_graph(self._nodes, self.name, [image], [scores], self._initializers)
        model = helper.make_model(
            graph,
            opset_imports=opset_imports(),
            ir_version=IR_VERSION,
            functions=functions({node.op_type for node in self._nodes}),
            producer_name="lqnets",
        )
        metadata = {"lqnets_format": str(FORMAT_VERSION), "labels": json.dumps(list(labels))}
        if weight_bits is not None:
            metadata["weight_bits"] = str(weight_bits)
        if activation_bits is not None:
            metadata["activation_bits"] = str(activation_bits)
        for key, value in sorted(metadata.items()):
            model.metadata_props.add(key=key, value=value)
        return model

    def _append(
        self,
        operator: str,
        name: str,
        inputs: list[str],
        shape: Shape,
        domain: str = "",
        **attributes: object,
    ) -> str:
        if name in self._shapes:
            raise ValueError(f"node name must be unique, not {name!r} again")
        node = helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes)
        self._nodes.append(node)
        self._shapes[name] = shape
        return name

    def _store(self, name: str, values: np.ndarray) -> str:
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _quantized_inputs(
        self, name: str, x: str, codes: np.ndarray, basis: np.ndarray, bias: np.ndarray | None
    ) -> list[str]:
        planes = (codes.reshape(1, -1) >> np.arange(len(basis))[:, None]) & 1
        packed = np.packbits(planes.astype(np.uint8), axis=1)
        inputs = [
            x,
            self._store(f"{name}.codes", packed),
            self._store(f"{name}.basis", basis),
        ]
        if bias is not None:
            inputs.append(self._store(f"{name}.bias", bias))
        return inputs

    def _window_shape(
        self,
        x: str,
        channels: int,
        window: Sequence[int],
        stride: tuple[int, int],
        padding: Padding,
    ) -> Shape:
        _, height, width = self._shapes[x]
        top, left, bottom, right = padding
        return (
            channels,
            window_outputs(height, top, bottom, window[0], stride[0]),
            window_outputs(width, left, right, window[1], stride[1]),
        )
