"""A program: everything that one network needs on one accelerator configuration.

The host loads a program in steps, each of which fits the external memory: it writes a stage's
image from word 0 on and runs the stage, which moves tables to on-chip memories; so for all stages
in order. Then it writes the program's own image, which stays for all inferences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = [
    "BlockInfo",
    "ExitPart",
    "LayerInfo",
    "Prefix",
    "Program",
    "ProgramError",
    "Stage",
    "TensorInfo",
    "TensorKind",
]

TensorKind = str
"""One of "image", "planes" (activation memory), "stream" (stream memory), "raw" (logits)."""


class ProgramError(ValueError):
    """A program that cannot be made, read or run; the text names the thing and the rule."""


@dataclass(frozen=True, kw_only=True)
class BlockInfo:
    """A part of a tensor that the post engine wrote on its way to the external memory.

    Its pixel (y, x) of the tensor begins at granule (stream: vector) ``base``, and holds ``count``
    channel blocks from ``first`` on.
    """

    y: int
    x: int
    height: int
    width: int
    first: int
    count: int
    base: int
    pixel_stride: int
    row_stride: int
    posts: int
    """POST instructions that write it."""


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Where a tensor lies on the chip, in the unit of its memory.

    Kind "planes": ``base``, ``pixel_stride``, ``row_stride`` in granules of the activation
    memory, block ``b`` at ``+ b * slots``, plane ``j`` at ``+ j``. Kind "stream": vectors of the
    stream memory, block ``b`` at ``+ b``. Kind "raw": granules; block ``b`` at
    ``+ b * slots``. Channel ``c`` of the tensor (the model's numbering) is held in position
    ``order.index(c)``: block ``position // rows``, lane ``position % rows``; an entry -1 is a
    lane that holds no channel.
    """

    name: str
    kind: TensorKind
    layer: int
    """Tag of the layer that writes it."""
    height: int
    width: int
    channels: int
    planes: int
    """Stored bit planes (planes), or bits of a value (stream, raw)."""
    slots: int
    base: int
    pixel_stride: int
    row_stride: int
    order: tuple[int, ...]
    blocks: tuple[BlockInfo, ...] = ()
    """Parts in the order in which they are written, if the tensor lies in the external memory;
    ``base`` and the strides are then without meaning."""


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """One layer of the program, for reports."""

    tag: int
    name: str
    kind: str
    """ "convolution" or "stream"."""
    output_shape: tuple[int, int, int]
    """Height, width, channels as stored."""
    convolution_shape: tuple[int, int, int]
    weight_label: str
    source_label: str
    binary_macs: int
    """Binary multiply-accumulates of the layer: MACs x weight planes x activation planes."""
    tensors: tuple[str, ...]
    """Names of the tensors that the layer writes."""
    pool_stride: tuple[int, int] = (1, 1)
    """Rows and columns of the convolution from one pool window to the next."""
    pool_padding: tuple[int, int] = (0, 0)
    """Rows and columns above and left of the convolution that the first pool window covers."""
    images: int = 1
    """Images that lie one below the other and are computed apart: padding is that of each."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of loading: tables, and the instructions that move them to on-chip memories."""

    entry: int
    """External word of the first instruction."""
    memory: np.ndarray
    """uint32: contents of the external memory from word 0; the next step overwrites them."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The program's network in its first weight planes: other instructions, the same weights."""

    planes: int
    """Most weight planes that a layer uses; layers of float weights keep theirs."""
    image_entry: int
    """As in :class:`Program`, and so are the fields below."""
    result_fraction: int
    layers: tuple[LayerInfo, ...]
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True, kw_only=True)
class ExitPart:
    """A part of the last layer's sum, as a run of its own: its logits add to those before.

    The first part runs the network up to there; each other one needs the run before it.
    """

    image_entry: int
    bounds: tuple[tuple[int, ...], ...]
    """[class, other class]: the least that all later parts can add to the difference of the
    logits (:mod:`compiler.early_exit`)."""
    layers: tuple[LayerInfo, ...]
    """That the run computes."""
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled network."""

    network: str
    preset: str
    fingerprint: int
    """``AcceleratorConfig.fingerprint`` that the program was made for."""
    stages: tuple[Stage, ...]
    """What loads the tables that stay on chip, in order; each is run once."""
    image_entry: int
    """External word of the instructions that classify an image, or a batch of them."""
    image_address: int
    """External word of the raw image; the others of a batch follow one after the other."""
    image_shape: tuple[int, int, int]
    """Height, width, channels (1 to 4) of an image; a 32-bit word per pixel, bytes c0 c1 c2 c3."""
    result_address: int
    """External word of the first logit."""
    result_count: int
    """Logits of an image, one signed 32-bit word each."""
    result_fraction: int
    """A logit's value is word * 2**-fraction."""
    labels: tuple[str, ...]
    layers: tuple[LayerInfo, ...]
    tensors: tuple[TensorInfo, ...]
    memory: np.ndarray
    """uint32: contents of the external memory from word 0 after the last stage: instructions and
    tables of every inference, room for image and result."""
    prefixes: tuple[Prefix, ...] = ()
    """Ways to run it with fewer weight planes, or with all (see :mod:`compiler.prefixes`)."""
    exits: tuple[ExitPart, ...] = ()
    """Parts of the last layer, after each of which the class may be certain."""
    images: int = 1
    """Images of a run: more than one in a batch."""
    result_stride: int = 0
    """Words from the logits of an image of a batch to those of the next one."""

    @property
    def result_words(self) -> int:
        """Words from the first logit of a run to its last one."""
        return (self.images - 1) * self.result_stride + self.result_count

    def logits(self, words: np.ndarray) -> np.ndarray:
        """[images, result_count] of the ``result_words`` words of a run; [0, ...] of no words."""
        starts = self.result_stride * np.arange(self.images if len(words) else 0)
        return words[starts[:, None] + np.arange(self.result_count)]

    def with_planes(self, planes: int) -> Program:
        """The program that starts with the instructions of ``planes`` weight planes.

        Stages and memory are the same: a device that has loaded one of them can run all.

        Raises:
            ProgramError: If the program has no such instructions.
        """
        for prefix in self.prefixes:
            if prefix.planes == planes:
                return replace(
                    self,
                    image_entry=prefix.image_entry,
                    result_fraction=prefix.result_fraction,
                    layers=prefix.layers,
                    tensors=prefix.tensors,
                )
        known = ", ".join(str(prefix.planes) for prefix in self.prefixes) or "all planes only"
        raise ProgramError(f"weight planes of the program must be {known}, not {planes}")

    @property
    def load_words(self) -> int:
        """32-bit words that the host writes to load the program."""
        return sum(len(stage.memory) for stage in self.stages) + len(self.memory)
