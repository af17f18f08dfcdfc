"""Training checkpoints: one file, plain tensors and numbers, replaced atomically."""

import io
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.network import LqNetwork
from golden.networks import UnknownNetwork, build_network
from golden.quantizers import ActivationEncoding

FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint file is missing, damaged or of another format."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` so that ``path`` always holds a whole checkpoint, old or new.

    The file is written under a temporary name in the same folder, flushed to the disk and then
    renamed over ``path``.

    Raises:
        CheckpointError: If it cannot be written; the old one stays.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = "; the one before is kept" if path.exists() else ""
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"checkpoint {path} must be writable: {reason}{kept}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save`.

    Raises:
        CheckpointError: If there is no such file, or it is not a whole checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} must be a checkpoint of this program: {error}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise CheckpointError(f"{path} must be a checkpoint of format {FORMAT}, not {version}")
    for name in ("config", "model"):
        if not isinstance(content.get(name), dict):
            raise CheckpointError(f"{path} must be a checkpoint with a {name}")
    return content


def load_tensors(path: Path, network: LqNetwork) -> dict[str, Tensor]:
    """The tensors of a checkpoint of the same network as ``network``, whatever its code widths.

    Raises:
        CheckpointError: If the file is no checkpoint, or one of another network or width.
    """
    content = load(path)
    found = content["config"]["network"]
    if found != network.name:
        raise CheckpointError(f"{path} must hold a {network.name}, not a {found}")
    tensors = content["model"]
    check_tensors(path, tensors, network)
    return tensors


def check_tensors(path: Path, tensors: dict[str, Tensor], network: LqNetwork) -> None:
    """Raise a CheckpointError unless ``tensors`` has all parameters of ``network``."""
    for name, parameter in network.named_parameters():
        shape = list(tensors[name].shape) if name in tensors else "nothing"
        if shape != list(parameter.shape):
            raise CheckpointError(
                f"{path} must hold {name} of the shape {list(parameter.shape)}, not {shape}"
            )


def take_over(network: LqNetwork, tensors: dict[str, Tensor]) -> int:
    """Copy the tensors that fit into ``network``; returns how many did.

    A module is taken over whole or not at all: the step count of a 2-bit basis without its
    moving average would spoil a 3-bit one.
    """
    own = network.state_dict()
    modules: dict[str, list[str]] = {}
    for name in own:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    fitting = {
        name: tensors[name]
        for names in modules.values()
        if all(n in tensors and tensors[n].shape == own[n].shape for n in names)
        for name in names
    }
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def load_network(path: Path) -> LqNetwork:
    """The trained network of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: If the file is no checkpoint, its network is unknown, or its tensors do
            not fit the network.
    """
    content = load(path)
    config = content["config"]
    try:
        network = build_network(
            config["network"],
            config["weight_bits"],
            config["activation_bits"],
            ActivationEncoding(config["encoding"]),
            # Checkpoints from before there were other sizes and classes do not name them.
            image_size=config.get("image_size"),
            classes=config.get("classes"),
        )
        network.load_state_dict(content["model"])
    except UnknownNetwork as error:
        raise CheckpointError(f"{path}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
    return network.eval()
