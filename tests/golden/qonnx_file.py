"""Builder of small QONNX files, and what their weights stand for."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from golden import graph as ir
from golden.onnx_import import import_bytes

__all__ = ["QONNX", "File", "random_images", "rounded", "stored_weights"]

QONNX = "qonnx.custom_op.general"


class File:
    """A QONNX file under construction; node methods return the name of the output."""

    def __init__(
        self, shape: tuple[int, ...] = (1, 2, 6, 6), kind: int = TensorProto.FLOAT
    ) -> None:
        self.inputs = [helper.make_tensor_value_info("x", kind, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(1)

    def store(self, values: object, dtype: type = np.float32) -> str:
        name = f"stored{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        name = f"{operator}{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name], domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def quant(
        self, x: str, bits: int, scale: object = 0.25, *, signed: int = 1, narrow: int = 0
    ) -> str:
        inputs = (x, self.store(scale), self.store(0.0), self.store(float(bits)))
        flags = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
        return self.node("Quant", *inputs, domain=QONNX, **flags)

    def weights(self, *shape: int, bits: int = 3) -> str:
        return self.quant(self.store(self.rng.normal(0, 0.5, shape)), bits, narrow=1)

    def conv(self, x: str, weights: str, pad: int = 1, kernel: int = 3) -> str:
        pads, shape = [pad] * 4, [kernel] * 2
        return self.node("Conv", x, weights, pads=pads, kernel_shape=shape, strides=[1, 1])

    def content(self, *outputs: str) -> bytes:
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs or (self.nodes[-1].output[0],)
        ]
        graph = helper.make_graph(self.nodes, "hand", self.inputs, results, self.stored)
        imports = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
        return helper.make_model(graph, opset_imports=imports).SerializeToString()

    def graph(self) -> ir.Graph:
        return import_bytes(self.content())


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def rounded(x: torch.Tensor, scale: float, lowest: int, highest: int) -> torch.Tensor:
    return torch.round(torch.clamp(x / scale, lowest, highest)) * scale


def stored_weights(file: File, name: str) -> torch.Tensor:
    """What the weight quantizer ``name`` (3 bits, narrow, scale 1/4) makes of its tensor."""
    node = next(node for node in file.nodes if node.output[0] == name)
    tensor = next(tensor for tensor in file.stored if tensor.name == node.input[0])
    values = torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float64))
    return rounded(values, 0.25, -3, 3)
