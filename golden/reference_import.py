"""Import of checkpoints of the LQ-Nets reference code (TensorFlow, tensorpack).

The file is the ``.npz`` that tensorpack's ``dump-model-params.py`` makes of a checkpoint: one
array per variable, named as in the graph. Kernels are [kh, kw, Cin, Cout] there and
[Cout, Cin, kh, kw] here; they are the latent float weights, whose codes follow from the basis.
Bit j of a code belongs to entry j of a basis in both, and in both a tie takes the lower level.

What only training needs is left out: momentum, the shadow variables of the bases' moving averages,
and averages for its log. An imported basis therefore counts as an average of many steps.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from golden import checkpoint
from golden.layers import LayerwideBatchNorm, QuantConv2d, QuantLinear
from golden.learned_quantizer import SETTLED_STEP
from golden.quantizers import MAX_BITS, ActivationEncoding, ActivationQuantizer, WeightQuantizer
from golden.reference_image import fold_image_normalization
from golden.reference_names import REFERENCE_NETWORKS, ReferenceNetwork

__all__ = ["ImportedCheckpoint", "CheckpointImportError", "import_checkpoint", "read_variables"]

TRAINING_SUFFIXES = ("/Momentum", "/biased", "/local_step")
TRAINING_NAMES = ("global_step", "learning_rate")
TRAINING_PREFIX = "EMA/"
"""Variables that only training needs."""

WEIGHT_BASIS = "weight_quant/basis"
ACTIVATION_BASIS = "ActivationQuantization/basis"


class CheckpointImportError(ValueError):
    """A file that is no checkpoint of that network. The text names the variable and the rule."""


@dataclass(frozen=True)
class ImportedCheckpoint:
    """What was read."""

    network: nn.Module
    """In evaluation mode."""
    weight_bits: int | None
    activation_bits: int | None
    variables: int
    """Variables taken over."""
    ignored: int
    """Variables that only training needs."""


@dataclass(frozen=True)
class _Target:
    """A tensor of the golden model, and how a variable of the reference code becomes it."""

    tensor: torch.Tensor
    axes: tuple[int, ...] | None = None
    """Permutation of the variable's axes; None keeps them."""

    @property
    def variable_shape(self) -> tuple[int, ...]:
        """Shape that the variable must have."""
        shape = tuple(self.tensor.shape)
        if self.axes is None:
            return shape
        return tuple(shape[self.axes.index(axis)] for axis in range(len(shape)))

    def fill(self, values: np.ndarray) -> None:
        """Take over the values of the variable."""
        array = values if self.axes is None else values.transpose(self.axes)
        self.tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def import_checkpoint(source: Path, network: str, output: Path) -> ImportedCheckpoint:
    """Write the reference checkpoint ``source`` as a checkpoint of this project.

    Args:
        source: The ``.npz`` file.
        network: A key of ``REFERENCE_NETWORKS``.
        output: The checkpoint; it is written only once everything is read and checked.

    Raises:
        CheckpointImportError: If a variable is missing, not known, of a wrong shape or not finite.
    """
    if network not in REFERENCE_NETWORKS:
        known = ", ".join(sorted(REFERENCE_NETWORKS))
        raise CheckpointImportError(f"network must be one of {known}, not {network}")
    imported = read_network(read_variables(source), REFERENCE_NETWORKS[network])
    config = {
        "network": network,
        "weight_bits": imported.weight_bits,
        "activation_bits": imported.activation_bits,
        "encoding": ActivationEncoding.UNSIGNED.value,
    }
    checkpoint.save(output, {"config": config, "model": imported.network.state_dict()})
    return imported


def read_variables(source: Path) -> dict[str, np.ndarray]:
    """All arrays of the file by the variables' names, without TensorFlow's ``:0``."""
    try:
        with source.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            with content as arrays:
                return {name.removesuffix(":0"): arrays[name] for name in arrays.files}
    except OSError as error:
        raise CheckpointImportError(f"checkpoint must be readable, not {source}: {error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointImportError(
            f"{source} must be an .npz file of arrays, not: {error}"
        ) from None


def read_network(
    variables: Mapping[str, np.ndarray], reference: ReferenceNetwork
) -> ImportedCheckpoint:
    """The golden model with the values of ``variables``.

    Raises:
        CheckpointImportError: As for :func:`import_checkpoint`.
    """
    kept = {name: values for name, values in variables.items() if not _is_for_training(name)}
    weight_bits = _bits(kept, WEIGHT_BASIS)
    activation_bits = _bits(kept, ACTIVATION_BASIS)
    try:
        network = reference.build(weight_bits, activation_bits).eval()
    except ValueError as error:
        raise CheckpointImportError(f"what the file holds cannot be built: {error}") from None
    targets: dict[str, _Target] = {}
    for path, scope in reference.scopes_of(activation_bits).items():
        targets |= dict(_targets(network.get_submodule(path), scope))
    for name in targets:
        if name not in kept:
            raise CheckpointImportError(f"variable {name!r} must be in the file, but is missing")
    for name in kept:
        if name not in targets:
            raise CheckpointImportError(
                f"variable {name!r} must belong to the network, but does not"
            )
    with torch.no_grad():
        for name, target in targets.items():
            _check(name, kept[name], target)
            target.fill(kept[name])
        for module in network.modules():
            if isinstance(module, WeightQuantizer | ActivationQuantizer):
                module.biased.copy_(module.basis)
                module.step.fill_(SETTLED_STEP)
    if reference.first is not None:
        fold_image_normalization(network, reference.first)
    return ImportedCheckpoint(
        network, weight_bits, activation_bits, len(kept), len(variables) - len(kept)
    )


def _is_for_training(name: str) -> bool:
    in_training = name.startswith(TRAINING_PREFIX) or name.endswith(TRAINING_SUFFIXES)
    return in_training or name in TRAINING_NAMES


def _bits(variables: Mapping[str, np.ndarray], kind: str) -> int | None:
    """Planes of the quantizers with bases of this kind; None if there are none."""
    found = [name for name in variables if name.endswith(f"/{kind}")]
    for name in found:
        shape, first = variables[name].shape, variables[found[0]].shape
        if len(shape) != 2 or not 1 <= shape[0] <= MAX_BITS:
            raise CheckpointImportError(
                f"variable {name!r} must have the shape [1..{MAX_BITS}, channels], "
                f"not {list(shape)}"
            )
        if shape[0] != first[0]:
            raise CheckpointImportError(
                f"variable {name!r} must have {first[0]} rows like {found[0]!r}, not {shape[0]}"
            )
    return variables[found[0]].shape[0] if found else None


def _targets(module: nn.Module, scope: str) -> Iterator[tuple[str, _Target]]:
    """The variables of a module, by their names."""
    if isinstance(module, QuantConv2d | QuantLinear):
        # A quantized matrix product is a convolution in the reference code; a plain one is not.
        axes = (3, 2, 0, 1) if isinstance(module, QuantConv2d) else (1, 0)
        yield f"{scope}/W", _Target(module.weight, axes)
        # A bias that training leaves alone is not that code's: see VGG-Variant.
        if module.bias is not None and module.bias.requires_grad:
            yield f"{scope}/b", _Target(module.bias)
        if module.weight_quant is not None:
            yield f"{scope}/{WEIGHT_BASIS}", _Target(module.weight_quant.basis)
    elif isinstance(module, nn.BatchNorm2d | LayerwideBatchNorm):
        if module.affine:
            yield f"{scope}/gamma", _Target(module.weight)
            yield f"{scope}/beta", _Target(module.bias)
        assert module.running_mean is not None
        assert module.running_var is not None
        yield f"{scope}/mean/EMA", _Target(module.running_mean)
        yield f"{scope}/variance/EMA", _Target(module.running_var)
    elif isinstance(module, ActivationQuantizer):
        yield f"{scope}/{ACTIVATION_BASIS}", _Target(module.basis[:, None])
    elif not isinstance(module, nn.Identity):
        raise TypeError(f"module must be a layer, not {type(module).__name__}")


def _check(name: str, values: np.ndarray, target: _Target) -> None:
    """Refuse what the network cannot hold exactly, or the reference code would not compute."""
    if values.dtype != np.float32:
        raise CheckpointImportError(f"variable {name!r} must be float32, not {values.dtype}")
    if values.shape != target.variable_shape:
        raise CheckpointImportError(
            f"variable {name!r} must have the shape {list(target.variable_shape)}, "
            f"not {list(values.shape)}"
        )
    if not np.isfinite(values).all():
        raise CheckpointImportError(f"variable {name!r} must be finite, not NaN or inf")
    # The reference code takes 0 as the lowest level of an activation without looking.
    if name.endswith((ACTIVATION_BASIS, "variance/EMA")) and (values < 0).any():
        raise CheckpointImportError(f"variable {name!r} must not be negative, not {values.min():g}")
