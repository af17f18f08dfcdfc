"""Scopes of the LQ-Nets reference code's variables, per network.

A scope holds the variables of one module: ``W`` (and ``b``, ``weight_quant/basis``) of a layer,
``gamma``, ``beta``, ``mean/EMA`` and ``variance/EMA`` of a batch normalisation,
``ActivationQuantization/basis`` of an activation quantizer. A network is one table from modules to
scopes; what a scope must hold follows from the kind of the module.

Sources, all of microsoft/LQ-Nets: ``learned_quantization.py`` for the variables and for what
``BNReLUQuant`` and the activations of a convolution add below its scope; the file of each network
is named at its table. ResNet-20 is not in that repository; its authors point to tensorpack's
``cifar10-resnet.py`` (n = 3) with quantized layers in place of the plain ones, so the scopes are
tensorpack's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from golden import densenet, resnet20, vgg_variant
from golden.googlenet_variant import BLOCKS
from golden.networks import build_network
from golden.reference_image import FirstLayer
from golden.resnet import RESNET18, RESNET34, RESNET50, ResNetShape

__all__ = ["REFERENCE_NETWORKS", "ReferenceNetwork"]

Scopes = dict[str, str]
"""Path of every module with parameters in the golden model -> scope of its variables."""


@dataclass(frozen=True)
class ReferenceNetwork:
    """One network of the reference code."""

    build: Callable[[int | None, int | None], nn.Module]
    """(weight_bits, activation_bits) -> the golden model; None is float."""
    scopes: Scopes
    weight_only: Scopes | None = None
    """Scopes of the form without activation quantizers, if that is another graph."""
    first: FirstLayer | None = None
    """Where normalized images enter, if that code normalizes each channel as a whole."""

    def scopes_of(self, activation_bits: int | None) -> Scopes:
        """Scopes of the form with so many activation planes."""
        if activation_bits is None and self.weight_only is not None:
            return self.weight_only
        return self.scopes


def _normalized(module: str, scope: str) -> Scopes:
    """Batch normalization and quantizer, both below ``scope`` as ``BNReLUQuant`` has them."""
    return {f"{module}.bn": f"{scope}/bn", f"{module}.quant": f"{scope}/quant"}


def _resnet20_scopes() -> Scopes:
    scopes = {"conv0": "conv0", "bn0": "conv0/bn"}
    for stage in range(len(resnet20.WIDTHS)):
        for index in range(resnet20.BLOCKS_PER_STAGE):
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


def _vgg_small_scopes() -> Scopes:
    """``cifar10-vgg-small.py``: behind a pool, a normalization has a scope of its own."""
    scopes = {f"conv{number}": f"conv{number}" for number in range(6)}
    norms = ("conv0", "bn2", "conv2", "bn4", "conv4")
    for number, scope in enumerate(norms, 1):
        scopes |= {f"norm{number}.bn": f"{scope}/bn", f"norm{number}.quant": f"quant{number}"}
    return scopes | {"bn_last": "bn6/bn", "fc": "linear"}


def _alexnet_scopes() -> Scopes:
    """``alexnet_model.py``: fc6 and fc7 are convolutions, fc8 is not."""
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    scopes = {layer: layer for layer in layers}
    norms = ("bnquant2", "bnquant3", "conv3", "conv4", "bnquant6", "fc6")
    for number, scope in enumerate(norms, 2):
        scopes |= _normalized(f"norm{number}", scope)
    return scopes | {"norm8.bn": "fc7/bn"}


def _vgg_variant_scopes() -> Scopes:
    """``vgg_model.py``: stages are counted from 2, convolutions in them from 1."""
    scopes = {layer: layer for layer in ("conv1", "fc5", "fc6", "fc7")}
    for stage in range(len(vgg_variant.WIDTHS) - 1):
        norm = f"bnquant{stage + 2}_0"
        for index in range(vgg_variant.CONVOLUTIONS_PER_STAGE):
            convolution = f"conv{stage + 2}_{index + 1}"
            scopes |= _normalized(f"stages.{stage}.norms.{index}", norm)
            scopes[f"stages.{stage}.convolutions.{index}"] = convolution
            norm = convolution
    scopes |= _normalized("norm5", "bnquant5") | _normalized("norm6", "fc5")
    return scopes | {"norm7.bn": "fc6/bn"}


def _googlenet_variant_scopes() -> Scopes:
    """``googlenet_model.py``: ``incpetion`` is spelled as there."""
    scopes = {"conv1": "conv1", "conv2_reduce": "conv2/3x3_reduce", "conv2": "conv2/3x3"}
    scopes |= _normalized("norm1", "pool1/out")
    scopes |= _normalized("norm2_reduce", "conv2/3x3_reduce")
    scopes |= _normalized("norm2", "pool2/out")
    labels = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    for index, (label, block) in enumerate(zip(labels, BLOCKS, strict=True)):
        module, scope = f"blocks.{index}", f"incpetion_{label}"
        for branch, size in (("point", "1x1"), ("middle", "3x3"), ("wide", "5x5")):
            scopes[f"{module}.{branch}"] = f"{scope}/{size}"
            if branch != "point":
                scopes[f"{module}.{branch}_reduce"] = f"{scope}/{size}_reduce"
                scopes |= _normalized(f"{module}.{branch}_norm", f"{scope}/{size}_reduce")
            if block.pooled:
                norm = f"{module}.{branch}_end.norm"
                scopes |= {
                    f"{norm}.bn": f"{scope}/conv{size}_bn/bn",
                    f"{norm}.quant": f"{scope}/conv{size}_quant",
                }
            elif index < len(BLOCKS) - 1:
                scopes |= _normalized(f"{module}.{branch}_end", f"{scope}/{size}")
    return scopes | {"norm_last.bn": "incpetion_5b/output_bn/bn", "fc": "linear"}


def _resnet_scopes(shape: ResNetShape, *, preactivated: bool, type_a: bool = False) -> Scopes:
    """``resnet_model.py``: ``preresnet_group``, ``preresnet_group_typeA`` or ``resnet_group``."""
    scopes = {"conv0": "conv0", "bn0": "conv0/bn", "fc": "linear"}
    for stage, count in enumerate(shape.blocks):
        for index in range(count):
            module, scope = f"stages.{stage}.{index}", f"group{stage}/block{index}"
            scopes |= _resnet_branch_scopes(f"{module}.branch", scope, 3 if shape.bottleneck else 2)
            if preactivated and index > 0:
                scopes |= {
                    f"{module}.entry.bn": f"{scope}/preact/bn",
                    f"{module}.entry.quant": f"{scope}/quant1",
                }
            elif preactivated and (type_a or stage == 0):
                scopes[f"{module}.entry"] = f"{scope}/quant1"
            if not type_a and index == 0 and (shape.bottleneck or stage > 0):
                scopes |= {
                    f"{module}.shortcut.conv": f"{scope}/convshortcut",
                    f"{module}.shortcut.bn": f"{scope}/convshortcut/bn",
                }
        if preactivated:
            scopes[f"ends.{stage}.bn"] = f"group{stage}/bnlast/bn"
            if not type_a and stage < len(shape.blocks) - 1:
                scopes[f"ends.{stage}.quant"] = f"group{stage}/quant_last"
    return scopes


def _resnet_branch_scopes(module: str, scope: str, convolutions: int) -> Scopes:
    """Convolutions 1.. of a block; all but the last are followed by a quantizer."""
    scopes = {f"{module}.bn": f"{scope}/conv{convolutions}/bn"}
    for number in range(1, convolutions + 1):
        scopes[f"{module}.conv{number}"] = f"{scope}/conv{number}"
        if number < convolutions:
            scopes |= {
                f"{module}.norm{number + 1}.bn": f"{scope}/conv{number}/bn",
                f"{module}.norm{number + 1}.quant": f"{scope}/quant{number + 1}",
            }
    return scopes


def _densenet_scopes(*, released: bool) -> Scopes:
    """``densenet_model.py``: ``first`` and ``quant_first`` are what its unused flag adds."""
    scopes = {"conv1": "conv1", "bn1": "conv1/bn", "norm_last.bn": "bnrelu_last/bn", "fc": "linear"}
    for stage, count in enumerate(densenet.LAYERS):
        block = f"block{stage}"
        if not released:
            scopes |= {
                f"entries.{stage}.bn": f"{block}/first/bn",
                f"entries.{stage}.quant": f"{block}/quant_first",
            }
        for index in range(count):
            module, scope = f"stages.{stage}.{index}", f"{block}/dense_layer.{index}"
            scopes |= {
                f"{module}.conv1": f"{scope}/conv1x1",
                f"{module}.norm1.bn": f"{scope}/bnrelu_2/bn",
                f"{module}.norm1.quant": f"{scope}/quant2",
                f"{module}.conv2": f"{scope}/conv3x3",
                f"{module}.norm2.bn": f"{scope}/bnrelu_3/bn",
                f"{module}.norm2.quant": f"{scope}/quant3",
            }
        if stage < len(densenet.LAYERS) - 1:
            scopes[f"transitions.{stage}.0"] = f"{block}/transition/conv1"
    return scopes


def _resnet(name: str, shape: ResNetShape, *, type_a: bool) -> ReferenceNetwork:
    return ReferenceNetwork(
        partial(build_network, name),
        _resnet_scopes(shape, preactivated=True, type_a=type_a),
        # Type A has no such form; its error is that of the golden model.
        weight_only=None if type_a else _resnet_scopes(shape, preactivated=False),
        first=FirstLayer("conv0", "bn0"),
    )


REFERENCE_NETWORKS: dict[str, ReferenceNetwork] = {
    "resnet20": ReferenceNetwork(partial(build_network, "resnet20"), _resnet20_scopes()),
    "vgg-small": ReferenceNetwork(partial(build_network, "vgg-small"), _vgg_small_scopes()),
    "alexnet": ReferenceNetwork(
        partial(build_network, "alexnet"),
        _alexnet_scopes(),
        first=FirstLayer("conv1", "norm2.bn"),
    ),
    "vgg-variant": ReferenceNetwork(
        partial(build_network, "vgg-variant"),
        _vgg_variant_scopes(),
        first=FirstLayer("conv1", None),
    ),
    "googlenet-variant": ReferenceNetwork(
        partial(build_network, "googlenet-variant"),
        _googlenet_variant_scopes(),
        first=FirstLayer("conv1", "norm1.bn"),
    ),
    **{
        f"{name}{suffix}": _resnet(f"{name}{suffix}", shape, type_a=bool(suffix))
        for suffix in ("", "-type-a")
        for name, shape in (("resnet18", RESNET18), ("resnet34", RESNET34), ("resnet50", RESNET50))
    },
    **{
        name: ReferenceNetwork(
            partial(build_network, name),
            _densenet_scopes(released=released),
            first=FirstLayer("conv1", "bn1"),
        )
        for name, released in (("densenet121", False), ("densenet121-released", True))
    },
}
"""By the names that commands take."""
