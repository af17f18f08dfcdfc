"""The options of ``lqfpga train`` and ``python -m golden.train``."""

import argparse
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from golden.networks import trainable_networks
from golden.quantizers import ActivationEncoding
from golden.recipe import find_recipe, shipped_recipes
from golden.train_config import Augmentation, Schedule, TrainConfig

EPILOG = """\
examples:
  lqfpga train resnet20 --recipe paper --weights 2 --activations 2
  lqfpga train resnet20 --recipe cpu-60 --activations 3 --output w2a3.pt
  lqfpga train resnet20 --recipe cpu-60 --activations 3 --output w2a3.pt --resume
  lqfpga train resnet18 --recipe paper --data /data/imagenet
  torchrun --nproc-per-node 4 -m golden.train resnet18 --recipe paper --data /data/imagenet
"""


DEFAULT_RECIPES = {"cifar10": "cpu-30", "imagenet": "paper-imagenet"}


@dataclass(frozen=True)
class Request:
    """What a command line asks for: a run, its step time instead, or the list of recipes."""

    config: TrainConfig
    benchmarks: bool = False
    lists_recipes: bool = False


def parse_arguments(arguments: Sequence[str] | None = None) -> Request:
    """The request of a command line (by default that of this process).

    Raises:
        ValueError: If the settings of recipe and options do not fit together.
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    benchmarks = options.pop("benchmark", False)
    lists_recipes = options.pop("list_recipes", False)
    if "network" not in options and not lists_recipes:
        parser.error("a network must be named, such as resnet20")
    name = options.pop("recipe", None)
    network = options.pop("network", TrainConfig.network)
    output = options.pop("output", Path(f"{network}.pt"))
    base = TrainConfig(
        output=output,
        network=network,
        weight_bits=options.pop("weight_bits", TrainConfig.weight_bits),
        activation_bits=options.pop("activation_bits", TrainConfig.activation_bits),
        dataset=options.pop("dataset", None),
        log=options.pop("log", output.with_suffix(".logs")),
    )
    config = find_recipe(name or DEFAULT_RECIPES[base.dataset_name], network).apply(base, **options)
    return Request(config, benchmarks, lists_recipes)


def list_recipes() -> None:
    """Print the shipped recipes."""
    table = Table("recipe", "what it is", box=None, pad_edge=False)
    for recipe in shipped_recipes():
        table.add_row(recipe.name, recipe.description)
    Console(highlight=False).print(table)


def _bits(text: str) -> int | None:
    if text != "float" and text not in tuple("12345678"):
        raise argparse.ArgumentTypeError(f"must be 1..8 or float, not {text!r}")
    return None if text == "float" else int(text)


def _milestones(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be epochs with commas between, not {text!r}"
        ) from error


def _member(kind: type[enum.Enum]) -> Callable[[str], enum.Enum]:
    """A reader of the values of ``kind``."""

    def read(text: str) -> enum.Enum:
        known = [member.value for member in kind]
        if text not in known:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(known)}, not {text!r}")
        return kind(text)

    return read


def _parser() -> argparse.ArgumentParser:
    """Options that are not given leave no trace, so that the recipe decides."""
    parser = argparse.ArgumentParser(
        prog="lqfpga train",
        description="Train a learned-quantized network. Options override the recipe.",
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def option(name: str, kind: Callable[[str], Any], text: str, field: str | None = None) -> None:
        destination = field or name.removeprefix("--").replace("-", "_")
        metavar = destination.upper()
        parser.add_argument(name, type=kind, dest=destination, metavar=metavar, help=text)

    base = TrainConfig(Path("NETWORK.pt"))
    known = ", ".join(trainable_networks())
    parser.add_argument("network", nargs="?", help=f"network to train: {known}")
    parser.add_argument("--list-recipes", action="store_true", help="print the recipes and stop")
    parser.add_argument(
        "--benchmark", action="store_true", help="only compare the time of a step with float"
    )
    option(
        "--recipe",
        str,
        "name or .toml file of the other settings (default: cpu-30 or paper-imagenet)",
    )
    option("--output", Path, f"checkpoint, replaced after every epoch (default: {base.output})")
    parser.add_argument("--resume", action="store_true", help="go on from the output file")
    option("--weights", _bits, "planes per weight, 1..8, or float (default: 2)", "weight_bits")
    option("--activations", _bits, "planes per activation (default: 2)", "activation_bits")
    option("--encoding", _member(ActivationEncoding), "activation code bits, unsigned or signed")
    option("--epochs", int, "passes over the training images; a recipe's milestones scale")
    option("--batch", int, "images per step, of all processes together")
    option("--schedule", _member(Schedule), "one-cycle, steps or linear")
    option("--peak-lr", float, "highest learning rate")
    option("--milestones", _milestones, "epochs at which it falls, as in 80,160,300")
    option("--weight-decay", float, "L2 factor on weights")
    option("--augmentation", _member(Augmentation), "none, crop or area-crop")
    option("--seed", int, f"of weights, order and augmentation (default: {base.seed})")
    option("--dataset", str, "cifar10 or imagenet, a folder of that layout")
    option("--data", Path, "folder of the data set (default for CIFAR-10: the cache)")
    option("--image-size", int, "height and width of the images, if not the network's own")
    option(
        "--init",
        Path,
        "checkpoint or exported .onnx to take fitting tensors from, such as a float network's",
    )
    option("--log", Path, "folder for TensorBoard (default: beside the output, NETWORK.logs)")
    parser.add_argument(
        "--no-log", dest="log", action="store_const", const=None, help="write no logs"
    )
    option("--device", str, "auto, cpu or cuda (default: auto)")
    option("--threads", int, "CPU threads, if not all")
    option("--workers", int, f"processes that read images (default: {base.workers})")
    off = {"action": "store_false"}
    parser.add_argument("--float32", dest="bfloat16", help="no mixed precision", **off)
    parser.add_argument("--no-compile", dest="compile", help="use no C++ compiler", **off)
    return parser
