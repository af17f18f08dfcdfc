"""Train a learned-quantized network, resumable at every epoch.

``python -m golden.train NETWORK --weights 2 --activations 2 --epochs 30 --output FILE``, or the
same behind ``lqfpga train``, or ``torchrun --nproc-per-node N -m golden.train NETWORK ...`` with
one process per GPU.
"""

import sys
from collections.abc import Sequence
from contextlib import closing

import torch
from rich.console import Console
from rich.progress import Progress as Bar

from golden.checkpoint import CheckpointError
from golden.data import Cifar10, DataError, load_cifar10
from golden.distributed import Ranks, choose_device, is_first_process, join_ranks
from golden.image_folder import FolderSource
from golden.networks import NETWORKS
from golden.progress import Progress
from golden.train_arguments import list_recipes, parse_arguments
from golden.train_benchmark import WARM_UP_STEPS, measure
from golden.train_config import TrainConfig, TrainResult
from golden.trainer import Trainer
from golden.training_data import CifarSource, ImageSource, TrainingError

BENCHMARK_STEPS = 20

__all__ = ["main", "open_source", "run", "train"]


def open_source(
    config: TrainConfig, device: torch.device, data: Cifar10 | None = None
) -> ImageSource:
    """The images of a run.

    Raises:
        DataError: If they cannot be loaded.
    """
    if config.dataset_name == "cifar10":
        return CifarSource(data or load_cifar10(config.data), config, device)
    if config.data is None:
        raise DataError("--data must name the folder with train/CLASS/ and val/CLASS/ images")
    size = config.image_size or NETWORKS[config.network].image_size
    return FolderSource(config.data, size, config, device)


def train(config: TrainConfig, data: Cifar10 | None = None) -> TrainResult:
    """Run (or finish) the training that ``config`` describes.

    Args:
        config: The run.
        data: CIFAR-10; by default it is loaded from ``config.data``.

    Raises:
        TrainingError: If the run cannot start, or the loss is no longer finite. The checkpoint
            of the last whole epoch stays.
        CheckpointError: If a checkpoint to start from cannot be read, or one cannot be written.
        DataError: If the data set cannot be loaded.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    with join_ranks(device) as ranks:
        return _train(config, open_source(config, device, data), device, ranks)


def _train(
    config: TrainConfig, source: ImageSource, device: torch.device, ranks: Ranks
) -> TrainResult:
    console = Console(soft_wrap=True, highlight=False, quiet=not ranks.is_first)
    with Progress(console) as progress:
        trainer = Trainer(config, source, device, progress.line, ranks)
        progress.start(
            config.epochs * trainer.steps_per_epoch,
            len(trainer.history) * trainer.steps_per_epoch,
        )
        with closing(trainer):
            while len(trainer.history) < config.epochs:
                result = trainer.epoch(progress)
                progress.line(
                    f"epoch {result.epoch}/{config.epochs}  loss {result.loss:.4f}  "
                    f"train {result.train_accuracy:.2%}  test {result.test_accuracy:.2%}  "
                    f"{result.seconds:.0f} s"
                )
    return TrainResult(config.output, tuple(trainer.history))


def run(arguments: Sequence[str] | None = None) -> None:
    """What a command line asks for (by default that of this process); errors as in `train`."""
    request = parse_arguments(arguments)
    if request.lists_recipes:
        list_recipes()
    elif request.benchmarks:
        _benchmark(request.config)
    else:
        train(request.config)


def _benchmark(config: TrainConfig) -> None:
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("steps", total=WARM_UP_STEPS + BENCHMARK_STEPS)
        times = measure(config, BENCHMARK_STEPS, lambda done: bar.update(task, completed=done))
    print(times)


def main() -> int:
    """Command line; exit status 1 with one line of text on an error."""
    try:
        run()
    except (TrainingError, CheckpointError, DataError, ValueError) as error:
        if is_first_process():
            print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; --resume goes on after the last whole epoch", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
