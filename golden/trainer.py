"""A network in training: one step, one epoch, and the state that a checkpoint holds.

Order and augmentation of the images are drawn from generators that are seeded by (seed, epoch),
and a checkpoint holds all other state, so a run that was stopped and resumed computes the same
numbers, bit for bit, as one that was not.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from golden import checkpoint
from golden.accuracy import count_correct
from golden.basis_updates import BasisUpdates
from golden.checkpoint import CheckpointError
from golden.distributed import Ranks
from golden.epoch_totals import EpochTotals
from golden.network import LqNetwork
from golden.networks import build_network
from golden.progress import Progress
from golden.quantizer_compilation import compile_quantizers
from golden.schedule import learning_rate
from golden.synchronized_norm import synchronize
from golden.train_config import EpochResult, TrainConfig, first_difference
from golden.train_log import TrainLog
from golden.training_data import ImageSource, TrainingError
from golden.warm_start import starting_tensors

SAMPLE = 256
"""Images on which the statistics of a model without any are measured."""

GPU_STEPS_AHEAD = 20
"""Steps that a GPU may be behind: only then the losses are fetched and looked at."""


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: weight decay on weights of two or more dimensions only."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


class Trainer:
    """A network with its optimizer and the results of the finished epochs.

    Args:
        config: The run.
        source: The images.
        device: Where to compute.
        report: Called with a line of text for the user.
        ranks: The processes of the run.

    Raises:
        TrainingError: If the run cannot start.
        CheckpointError: If a checkpoint to start from cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: ImageSource,
        device: torch.device,
        report: Callable[[str], None],
        ranks: Ranks | None = None,
    ) -> None:
        ranks = ranks or Ranks()
        if source.train_count < config.batch:
            raise TrainingError(f"batch must be at most {source.train_count}, not {config.batch}")
        if config.batch % ranks.count:
            raise TrainingError(
                f"batch must be a multiple of the {ranks.count} processes, not {config.batch}"
            )
        self.config = config
        self.source = source
        self.device = device
        self.report = report
        self.ranks = ranks
        self.steps_per_epoch = source.train_count // config.batch
        self.network = self._build()
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.network, config.weight_decay),
            lr=config.peak_lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
        )
        self.history: list[EpochResult] = []
        self.bases = BasisUpdates(self.network, ranks)
        self._unfitted: set[str] = set()
        self._resume()
        if config.compile and config.activation_bits is not None:
            compile_quantizers(self.network, device, report)
        self.model: nn.Module = self.network
        if ranks.count > 1:
            # Running statistics and bases are the same everywhere by what they are computed from.
            synchronize(self.network, ranks)
            self.model = DistributedDataParallel(self.network, forward_sync_buffers=False)
        self.log: TrainLog | None = None
        if config.log is not None and ranks.is_first:
            self.log = TrainLog(config.log, len(self.history) * self.steps_per_epoch)

    def _build(self) -> LqNetwork:
        """The network with its initial weights, on the device."""
        config = self.config
        torch.manual_seed(config.seed)
        network = build_network(
            config.network,
            config.weight_bits,
            config.activation_bits,
            config.encoding,
            image_size=self.source.image_size,
            classes=self.source.classes,
        )
        path = config.init
        if path is not None and not (config.resume and config.output.exists()):
            source = self.ranks.from_first(lambda: starting_tensors(path, network, self._sample))
            taken = checkpoint.take_over(network, source)
            self.report(f"started from {taken} tensors of {path}")
        return network.to(self.device, memory_format=torch.channels_last)

    def _sample(self) -> Tensor:
        """Some training images, raw pixels [N, 3, H, W], the same for any number of processes."""
        count = -(-SAMPLE // self.config.batch)
        batches = islice(self.source.train_batches(0, Ranks()), count)
        pixels = torch.cat([pixels for pixels, _ in batches])[:SAMPLE]
        return pixels.permute(0, 3, 1, 2).cpu()

    def _resume(self) -> None:
        """Take over the state of the output file, if there is one."""
        config = self.config
        saved = self.ranks.from_first(self._saved)
        if saved is None:
            return
        difference = first_difference(saved["config"], config)
        if difference is not None:
            name, found, wanted = difference
            raise TrainingError(f"{name} must be {found} as in the checkpoint, not {wanted}")
        try:
            self.network.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.history = [EpochResult(**entry) for entry in saved["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{config.output} must hold the state of such a run: {error}"
            ) from error
        self.report(f"resumed {config.output} after epoch {len(self.history)}")

    def _saved(self) -> dict[str, Any] | None:
        """Content of the output file; None if there is none."""
        path = self.config.output
        if not path.exists():
            return None
        if not self.config.resume:
            raise TrainingError(f"{path} exists; resume it or choose another output")
        return checkpoint.load(path)

    def save(self) -> None:
        """Replace the checkpoint file by the present state."""
        content = {
            "config": {**self.config.to_plain(), "classes": self.source.classes},
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(entry) for entry in self.history],
        }
        self.ranks.from_first(lambda: checkpoint.save(self.config.output, content))

    def step(self, number: int, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step on this process's share of a batch.

        Args:
            number: The step in the whole run, from 0.
            pixels: uint8 [N, H, W, 3].
            labels: int64 [N].

        Returns:
            Sum of the losses and number of correct answers, float64 [2], on the device.
        """
        config = self.config
        rate = learning_rate(config, number, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            scores = self.model(pixels.permute(0, 3, 1, 2))
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        loss = functional.cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.bases.update()
        correct = (scores.argmax(1) == labels).sum()
        return torch.stack((loss.detach().double(), correct.double()))

    def epoch(self, progress: Progress) -> EpochResult:
        """Train one epoch, test, and save the checkpoint.

        Raises:
            TrainingError: If a loss is not finite. The checkpoint stays as it was.
        """
        number = len(self.history)
        first = number * self.steps_per_epoch
        started = time.monotonic()
        totals = EpochTotals(first, self.config.batch, self.ranks)
        # Fetching a number waits for the GPU, so it is done for several steps at once.
        ahead = 1 if self.device.type == "cpu" else GPU_STEPS_AHEAD
        self.network.train()
        for i, (pixels, labels) in enumerate(self.source.train_batches(number, self.ranks)):
            totals.add(self.step(first + i, pixels, labels))
            if (i + 1) % ahead == 0 or i + 1 == self.steps_per_epoch:
                losses = totals.fetch()
                progress.update(first + i + 1, totals.loss, totals.accuracy)
                if self.log is not None:
                    rate = learning_rate(self.config, first + i, self.steps_per_epoch)
                    self.log.steps(first + i + 1, losses, rate)
        correct = count_correct(self.network, self.source.test_batches(self.ranks))
        correct = int(self.ranks.sum(correct.to(self.device)))
        result = EpochResult(
            epoch=number + 1,
            loss=totals.loss,
            train_accuracy=totals.accuracy,
            test_accuracy=correct / self.source.test_count,
            seconds=time.monotonic() - started,
        )
        self.history.append(result)
        self._report_unfitted()
        if self.log is not None:
            # Before the checkpoint: what a log has beyond it is dropped when the run goes on.
            self.log.epoch(first + self.steps_per_epoch, result, self.network)
        self.save()
        return result

    def close(self) -> None:
        """Finish the logs."""
        if self.log is not None:
            self.log.close()

    def _report_unfitted(self) -> None:
        """Name each quantizer that kept an old basis, once."""
        new = [name for name in self.bases.unfitted() if name not in self._unfitted]
        self._unfitted.update(new)
        if new:
            self.report(
                f"too few levels in use to fit the basis, which stays as it was, at times in "
                f"{', '.join(new)}"
            )
