"""Scopes of the LQ-Nets reference code's variables, per network.

A scope holds the variables of one module: ``W`` (and ``b``, ``weight_quant/basis``) of a layer,
``gamma``, ``beta``, ``mean/EMA`` and ``variance/EMA`` of a batch normalisation,
``ActivationQuantization/basis`` of an activation quantizer. A network is one table from modules to
scopes; what a scope must hold follows from the kind of the module.

Sources: ``learned_quantization.py`` of microsoft/LQ-Nets for the variables. ResNet-20 is not in
that repository; its authors point to tensorpack's ``cifar10-resnet.py`` (n = 3) with quantized
layers in place of the plain ones, so the scopes are tensorpack's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from golden.resnet20 import BLOCKS_PER_STAGE, WIDTHS, ResNet20

__all__ = ["REFERENCE_NETWORKS", "ReferenceNetwork"]


@dataclass(frozen=True)
class ReferenceNetwork:
    """One network of the reference code."""

    build: Callable[[int | None, int | None], nn.Module]
    """(weight_bits, activation_bits) -> the golden model; None is float."""
    scopes: dict[str, str]
    """Path of every module with parameters in the golden model -> scope of its variables."""


def _resnet20_scopes() -> dict[str, str]:
    scopes = {"conv0": "conv0", "bn0": "conv0/bn"}
    for stage in range(len(WIDTHS)):
        for index in range(BLOCKS_PER_STAGE):
            module, scope = f"stages.{stage}.{index}", f"res{stage + 1}.{index}"
            if (stage, index) != (0, 0):
                scopes[f"{module}.bn_in"] = f"{scope}/bn"
            scopes |= {
                f"{module}.quant1": f"{scope}/quant1",
                f"{module}.conv1": f"{scope}/conv1",
                f"{module}.bn1": f"{scope}/conv1/bn",
                f"{module}.quant2": f"{scope}/quant2",
                f"{module}.conv2": f"{scope}/conv2",
            }
    return scopes | {"bn_last": "bnlast/bn", "fc": "linear"}


REFERENCE_NETWORKS: dict[str, ReferenceNetwork] = {
    "resnet20": ReferenceNetwork(ResNet20, _resnet20_scopes()),
}
"""By the names that commands take."""
