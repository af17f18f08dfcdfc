"""The processes that train one network together, as torchrun starts them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")


class DeviceError(ValueError):
    """The device that was asked for is not there."""


@dataclass(frozen=True)
class Ranks:
    """All processes of a run, of which this is one.

    Attributes:
        rank: Number of this process, from 0; the first one alone writes files and text.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and text."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of ``total`` things in a row; all parts are equal if they can be."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over all processes, in place; the same bits in each of them."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """What ``compute`` gives in the first process, or the error that it raises there."""
        if self.count == 1:
            return compute()
        message: list[object] = [None, None]
        if self.is_first:
            try:
                message[0] = compute()
            except Exception as error:
                message[1] = error
        dist.broadcast_object_list(message, src=0)
        if isinstance(message[1], Exception):
            raise message[1]
        return message[0]  # pyright: ignore[reportReturnType]


def is_first_process() -> bool:
    """Whether this is the first of torchrun's processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """This process among those that torchrun started; alone if it was not torchrun.

    Args:
        device: Where tensors lie that are summed: NCCL sums on GPUs, Gloo on CPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device of this process.

    Args:
        name: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one. Processes of torchrun
            on one machine get one GPU each.

    Raises:
        DeviceError: If there is no GPU, or no more.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError("device must be cpu, not cuda: torch finds no GPU here")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"processes per machine must be at most its {torch.cuda.device_count()} GPUs"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
