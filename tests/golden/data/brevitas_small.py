"""Trains a small Brevitas network and writes it as QONNX, with what it computes.

The files beside this script are its output. Brevitas is no dependency of the project, so the tests
only read them. To write them again, with torch as in ``requirements.lock``:

    pip install --no-deps brevitas==0.13.4 qonnx==1.0.0 dependencies==2.0.1 unfoldNd sympy \\
        onnxscript onnx_ir onnxoptimizer sigtools toposort bitstring bitarray tibs clize attrs od
    python tests/golden/data/brevitas_small.py

``brevitas-small.onnx`` comes from torch's newer exporter, ``brevitas-small-opset13.onnx`` from its
older one. ``brevitas-small.npz`` holds images, their labels, the scores, and every activation of
the first images, as computed by the qonnx package from the first file.
"""

import os
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
)
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from torch import Tensor, nn

FOLDER = Path(__file__).parent
SIZE = 12
CLASSES = 6
IMAGES, TRACED = 40, 4


def gratings(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy stripes, uint8 [N, 3, SIZE, SIZE]; the class is direction (3) and width (2)."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])[labels % 3]
    places = torch.arange(SIZE).float()
    phase = directions[:, :1, None] * places[None, :, None] + directions[:, 1:, None] * places
    frequency = torch.where(labels < 3, 1.0, 2.0)[:, None, None]
    waves = torch.sin(frequency * phase + 6.28 * uniform(1, 1))[:, None]
    colour = 40 + 60 * uniform(3, 1, 1)
    noise = 60 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    pixels = 128 + colour * waves + 30 * (uniform(3, 1, 1) - 0.5) + noise
    return pixels.round().clamp(0, 255).to(torch.uint8), labels


class Network(nn.Module):
    """Every kind of quantizer that the import reads, at least once."""

    def __init__(self) -> None:
        super().__init__()
        self.image = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=8)
        self.conv0 = qnn.QuantConv2d(
            3, 8, 3, padding=1, bias=False, weight_quant=Int8WeightPerChannelFloat
        )
        self.bn0 = nn.BatchNorm2d(8)
        self.relu0 = qnn.QuantReLU(bit_width=2)
        self.pool = nn.MaxPool2d(2)
        self.binary = qnn.QuantConv2d(
            8, 12, 3, padding=1, bias=False, weight_quant=SignedBinaryWeightPerTensorConst
        )
        self.bn1 = nn.BatchNorm2d(12)
        self.join = qnn.QuantIdentity(bit_width=4, return_quant_tensor=False)
        self.conv2 = qnn.QuantConv2d(12, 12, 3, padding=1, bias=True, weight_bit_width=3)
        self.relu2 = qnn.QuantReLU(bit_width=3)
        self.conv3 = qnn.QuantConv2d(
            12,
            12,
            3,
            stride=2,
            padding=1,
            bias=False,
            weight_quant=Int8WeightPerTensorFixedPoint,
            weight_bit_width=2,
        )
        self.bn3 = nn.BatchNorm2d(12)
        self.sign = qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)
        self.hidden = qnn.QuantLinear(12 * 9, 20, bias=False, weight_bit_width=4)
        self.bn4 = nn.BatchNorm1d(20)
        self.last = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=5)
        self.scores = qnn.QuantLinear(
            20, CLASSES, bias=True, bias_quant=Int8BiasPerTensorFloatInternalScaling
        )

    def forward(self, images: Tensor) -> Tensor:
        """Raw pixels uint8 [N, 3, SIZE, SIZE] -> scores [N, CLASSES]."""
        x = self.image((images.float() - 128) / 128)
        x = self.pool(self.relu0(self.bn0(self.conv0(x))))
        x = self.join(self.bn1(self.binary(x)))
        x = self.relu2(self.conv2(x) + x)
        x = self.sign(self.bn3(self.conv3(x)))
        x = self.last(self.bn4(self.hidden(torch.flatten(x, 1))))
        return self.scores(x)


def train(network: Network, generator: torch.Generator) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(400):
        images, labels = gratings(64, generator)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}")


def write_model(network: Network, example: Tensor, name: str, **options: object) -> Path:
    path = FOLDER / name
    export_qonnx(network, example, str(path), **options)
    path.with_suffix(".onnx.data").unlink(missing_ok=True)
    model = onnx.load(path)
    model.graph.name = "brevitas-small"
    for node in model.graph.node:
        node.ClearField("metadata_props")  # Python stack traces
        node.ClearField("doc_string")
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    generator = torch.Generator().manual_seed(1)
    network = Network()
    train(network, generator)
    network.eval()
    images, labels = gratings(2000, generator)
    with torch.no_grad():
        found = network(images)
    print(f"accuracy {(found.argmax(1) == labels).float().mean().item():.1%}")
    path = write_model(network, images[:1], "brevitas-small.onnx")
    write_model(network, images[:1], "brevitas-small-opset13.onnx", dynamo=False, opset_version=13)
    trace(path, images[:IMAGES], labels[:IMAGES], found[:IMAGES])


def trace(path: Path, images: Tensor, labels: Tensor, found: Tensor) -> None:
    """Run the file with the qonnx package and keep what it computes."""
    model = ModelWrapper(onnx.shape_inference.infer_shapes(onnx.load(path)))
    model = model.transform(InferShapes())
    stored = {tensor.name for tensor in model.graph.initializer}
    quantized = [
        node.output[0]
        for node in model.graph.node
        if node.op_type in ("Quant", "BipolarQuant") and node.input[0] not in stored
    ]
    entry, output = model.graph.input[0].name, model.graph.output[0].name
    contexts = [
        execute_onnx(model, {entry: image[None].numpy()}, return_full_exec_context=True)
        for image in images
    ]
    scores = np.concatenate([context[output] for context in contexts])
    print(f"qonnx and Brevitas differ by {np.abs(scores - found.numpy()).max():.2g}")
    activations = {
        name: np.concatenate([context[name] for context in contexts[:TRACED]]) for name in quantized
    }
    np.savez_compressed(
        FOLDER / "brevitas-small.npz",
        images=images.permute(0, 2, 3, 1).numpy(),
        labels=labels.to(torch.uint8).numpy(),
        scores=scores,
        **{f"activation:{name}": values for name, values in activations.items()},
    )


if __name__ == "__main__":
    main()
