"""Train a learned-quantized network on CIFAR-10, on a CPU, resumable at every epoch.

``python -m golden.train NETWORK --weights 2 --activations 2 --epochs 30 --output FILE``

One cycle of the learning rate (linear rise, cosine fall), SGD with Nesterov momentum, random
crops and flips. Order and augmentation of the images are drawn from a generator that is seeded
by (seed, epoch), so a run that was stopped and resumed computes the same numbers, bit for bit, as
one that was not.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden import checkpoint
from golden.checkpoint import CheckpointError
from golden.data import Cifar10, DataError, Images, load_cifar10
from golden.layers import PIXEL_OFFSET
from golden.networks import build_network, trainable_networks
from golden.progress import Progress
from golden.quantizers import (
    ActivationEncoding,
    ActivationQuantizer,
    compare_and_sum,
    gate_gradient,
)
from golden.train_config import EpochResult, TrainConfig, TrainResult, learning_rate

CROP_MARGIN = 4
MOMENTUM = 0.9


class TrainingError(Exception):
    """Training cannot start or go on."""


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop (margin 4) and a random mirror per image, uint8 [N, H, W, 3] -> same.

    The margin is the grey that the network reads as zero, as its convolutions pad.
    """
    count, height, width, _ = pixels.shape
    margin = (0, 0, CROP_MARGIN, CROP_MARGIN, CROP_MARGIN, CROP_MARGIN)
    padded = functional.pad(pixels, margin, value=PIXEL_OFFSET)
    shifts = torch.randint(2 * CROP_MARGIN + 1, (2, count, 1), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    rows = (torch.arange(height) + shifts[0])[:, :, None]
    return padded[torch.arange(count)[:, None, None], rows, (columns + shifts[1])[:, None, :]]


def as_tensors(images: Images) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, H, W, 3] and labels int64 [N]."""
    return torch.from_numpy(images.pixels), torch.from_numpy(images.labels).long()


@torch.no_grad()
def evaluate(network: nn.Module, images: Images, batch: int = 500) -> float:
    """Share of ``images`` (0..1) that the network classifies correctly, computed in float32."""
    training = network.training
    network.eval()
    pixels, labels = as_tensors(images)
    correct = 0
    for start in range(0, len(labels), batch):
        scores = network(pixels[start : start + batch].permute(0, 3, 1, 2))
        correct += int((scores.argmax(1) == labels[start : start + batch]).sum())
    network.train(training)
    return correct / len(labels)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: weight decay on weights of two or more dimensions only."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


class Trainer:
    """A network with its optimizer and the number of finished epochs."""

    def __init__(self, config: TrainConfig, data: Cifar10, report: Callable[[str], None]) -> None:
        if len(data.train) < config.batch:
            raise TrainingError(f"batch must be at most {len(data.train)}, not {config.batch}")
        self.config = config
        self.data = data
        self.report = report
        self.pixels, self.labels = as_tensors(data.train)
        self.steps_per_epoch = len(data.train) // config.batch
        torch.manual_seed(config.seed)
        self.network = build_network(
            config.network, config.weight_bits, config.activation_bits, config.encoding
        ).to(memory_format=torch.channels_last)
        if config.init is not None:
            self._warm_start(config.init)
        groups = parameter_groups(self.network, config.weight_decay)
        self.optimizer = torch.optim.SGD(
            groups, lr=config.peak_lr, momentum=MOMENTUM, nesterov=True
        )
        self.history: list[EpochResult] = []
        if config.output.exists():
            if not config.resume:
                raise TrainingError(f"{config.output} exists; resume it or choose another output")
            self._resume()
        if config.compile and config.activation_bits is not None:
            self._compile()

    def _compile(self) -> None:
        """Fuse the quantizers' pass over the activations into one loop (2.5 times the speed)."""
        statistics = torch.compile(compare_and_sum, dynamic=False)
        gate = torch.compile(gate_gradient, dynamic=False)
        try:
            statistics(torch.zeros(8), torch.zeros(1), torch.zeros(2))
            gate(torch.zeros(8), torch.zeros(8), torch.zeros(()))
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            self.report(f"training without a C++ compiler, which is slower: {reason}")
            return
        for module in self.network.modules():
            if isinstance(module, ActivationQuantizer):
                module.statistics = statistics
                module.gate = gate

    def _warm_start(self, path: Path) -> None:
        """Take over the tensors that fit, for example a float network's into a quantized one."""
        source = checkpoint.load_tensors(path, self.network)
        own = self.network.state_dict()
        modules: dict[str, list[str]] = {}
        for name in own:
            modules.setdefault(name.rpartition(".")[0], []).append(name)
        # A module is taken over whole or not at all: the step count of a 2-bit basis without
        # its moving average would spoil a 3-bit one.
        fitting = {
            name: source[name]
            for names in modules.values()
            if all(n in source and source[n].shape == own[n].shape for n in names)
            for name in names
        }
        self.network.load_state_dict(fitting, strict=False)
        self.report(f"started from {len(fitting)} tensors of {path}")

    def _resume(self) -> None:
        saved = checkpoint.load(self.config.output)
        # Another number of epochs is fine: the rest of the run follows the new schedule.
        for name, value in self.config.to_plain().items():
            if name != "epochs" and saved["config"].get(name) != value:
                raise TrainingError(
                    f"{name} must be {saved['config'].get(name)} as in the checkpoint, not {value}"
                )
        self.network.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.history = [EpochResult(**entry) for entry in saved["history"]]
        self.report(f"resumed {self.config.output} after epoch {len(self.history)}")

    def save(self) -> None:
        """Replace the checkpoint file by the present state."""
        content = {
            "config": self.config.to_plain(),
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(entry) for entry in self.history],
        }
        checkpoint.save(self.config.output, content)

    def step(self, number: int, pixels: Tensor, labels: Tensor) -> tuple[float, int]:
        """One step on a batch; returns its mean loss and the number of correct answers."""
        config = self.config
        steps = config.epochs * self.steps_per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, steps, config.peak_lr, config.rise)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            scores = self.network(pixels.permute(0, 3, 1, 2))
        loss = functional.cross_entropy(scores.float(), labels)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"loss must be finite, not {loss.item()} at step {number}; a lower peak_lr may help"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), int((scores.argmax(1) == labels).sum())

    def epoch(self, progress: Progress) -> EpochResult:
        """Train one epoch, test, and save the checkpoint."""
        number = len(self.history)
        batch = self.config.batch
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        order = torch.randperm(len(self.labels), generator=generator)
        started = time.monotonic()
        loss_sum, correct = 0.0, 0
        self.network.train()
        for i in range(self.steps_per_epoch):
            chosen = order[i * batch : (i + 1) * batch]
            pixels = augment(self.pixels[chosen], generator)
            step = number * self.steps_per_epoch + i
            loss, right = self.step(step, pixels, self.labels[chosen])
            loss_sum += loss
            correct += right
            progress.update(step + 1, loss_sum / (i + 1), correct / ((i + 1) * batch))
        result = EpochResult(
            epoch=number + 1,
            loss=loss_sum / self.steps_per_epoch,
            train_accuracy=correct / (self.steps_per_epoch * batch),
            test_accuracy=evaluate(self.network, self.data.test),
            seconds=time.monotonic() - started,
        )
        self.history.append(result)
        self.save()
        return result


def train(config: TrainConfig, data: Cifar10 | None = None) -> TrainResult:
    """Run (or finish) the training that ``config`` describes.

    Args:
        config: The run.
        data: The data set; by default it is loaded from ``config.data``.

    Raises:
        TrainingError: If the run cannot start, or the loss is no longer finite. The checkpoint
            of the last whole epoch stays.
        CheckpointError: If a checkpoint to start from cannot be read.
        DataError: If the data set cannot be loaded.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    data = data or load_cifar10(config.data)
    with Progress() as progress:
        trainer = Trainer(config, data, progress.line)
        progress.start(
            config.epochs * trainer.steps_per_epoch,
            len(trainer.history) * trainer.steps_per_epoch,
        )
        while len(trainer.history) < config.epochs:
            result = trainer.epoch(progress)
            progress.line(
                f"epoch {result.epoch}/{config.epochs}  loss {result.loss:.4f}  "
                f"train {result.train_accuracy:.2%}  test {result.test_accuracy:.2%}  "
                f"{result.seconds:.0f} s"
            )
    return TrainResult(config.output, tuple(trainer.history))


def _bits(text: str) -> int | None:
    return None if text == "float" else int(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> TrainConfig:
    """The configuration of a command line (by default that of this process)."""
    parser = argparse.ArgumentParser(
        prog="python -m golden.train",
        description="Train a learned-quantized network on CIFAR-10.",
    )
    base = TrainConfig(output=Path("NETWORK.pt"))

    def option(name: str, kind: Callable[[str], object], default: object, text: str) -> None:
        shown = "" if default is None else " (default: %(default)s)"
        parser.add_argument(name, type=kind, default=default, help=text + shown)

    parser.add_argument("network", choices=trainable_networks(), help="network to train")
    option("--output", Path, base.output, "checkpoint file, replaced after every epoch")
    option("--weights", _bits, base.weight_bits, "planes per weight, 1..8, or float")
    option("--activations", _bits, base.activation_bits, "planes per activation, 1..8, or float")
    option("--encoding", str, base.encoding.value, "activation code bits, unsigned or signed")
    option("--epochs", int, base.epochs, "passes over the training images")
    option("--batch", int, base.batch, "images per step")
    option("--peak-lr", float, base.peak_lr, "highest learning rate of the cycle")
    option("--seed", int, base.seed, "seed of weights, order and augmentation")
    option("--data", Path, None, "folder of the prepared data set, if not the cache")
    option("--init", Path, None, "checkpoint to take fitting tensors from")
    option("--threads", int, None, "CPU threads, if not all")
    parser.add_argument("--resume", action="store_true", help="go on from the output file")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="do not use a C++ compiler"
    )
    options = vars(parser.parse_args(arguments))
    if options["output"] == base.output:
        options["output"] = Path(f"{options['network']}.pt")
    options["encoding"] = ActivationEncoding(options["encoding"])
    options["weight_bits"] = options.pop("weights")
    options["activation_bits"] = options.pop("activations")
    return replace(base, **options)


def main() -> int:
    """Command line; exit status 1 with one line of text on an error."""
    try:
        train(parse_arguments())
    except (TrainingError, CheckpointError, DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; --resume goes on after the last whole epoch", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
