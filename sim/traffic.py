"""Words that a program moves to and from the external memory, and the fewest that it needs to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from compiler.program import Program
from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw.config import AcceleratorConfig
from hw.isa import INSTRUCTION_WORDS, DmaTarget, Opcode
from hw.memory.packing import WORD, entry_formats

from .reconstruction import image_instructions

__all__ = ["INSTRUCTIONS", "Traffic", "traffic_of", "weight_bits"]

INSTRUCTIONS = "instructions"
"""Kind of words, beside those of ``load`` and ``store``."""
TENSORS = (DmaTarget.ACTIVATIONS.name.lower(), DmaTarget.STREAMS.name.lower())


@dataclass(frozen=True)
class Traffic:
    """External words of a run: an image, or a batch of them."""

    moved: dict[str, int]
    """By what they are: "load weights", "store streams", ..., "instructions"."""
    least: int
    """All weights once, in as many bits as they have; the image and the result once; tensors that
    lie outside written once and read once."""

    @property
    def total(self) -> int:
        return sum(self.moved.values())

    @property
    def activations(self) -> int:
        """Words of tensors: activations, streams, the image and the result."""
        return sum(words for name, words in self.moved.items() if name.endswith(TENSORS))

    @property
    def tables(self) -> int:
        """Words of weights and of the other tables."""
        return self.total - self.activations - self.moved[INSTRUCTIONS]

    @property
    def ratio(self) -> float:
        """Words that are moved for each that must be; below 1 where weights stay on chip."""
        return self.total / self.least


def traffic_of(program: Program, network: IntegerNetwork, config: AcceleratorConfig) -> Traffic:
    """The words that a run moves.

    Args:
        program: Of ``network`` for ``config``.
        network: The network.
        config: Sizes.
    """
    formats = {target.value: form for target, form in entry_formats(config).items()}
    moved: Counter[str] = Counter({INSTRUCTIONS: INSTRUCTION_WORDS})  # END
    for opcode, fields in image_instructions(program):
        moved[INSTRUCTIONS] += INSTRUCTION_WORDS
        if opcode is Opcode.DMA:
            runs = (fields["runs"] + 1) * (fields["rows"] + 1)
            kind = DmaTarget(fields["target"]).name.lower()
            words = runs * formats[fields["target"]].words_of(fields["count"])
            moved[f"{'store' if fields['store'] else 'load'} {kind}"] += words
    return Traffic(dict(moved), _least_words(program, network))


def weight_bits(network: IntegerNetwork) -> int:
    """Bits of all weight planes."""
    layers = [layer for layer in network.layers if isinstance(layer, ConvolutionLayer)]
    return sum(layer.weight_planes.size for layer in layers)


def _least_words(program: Program, network: IntegerNetwork) -> int:
    bits = weight_bits(network)
    for tensor in program.tensors:
        if tensor.blocks:
            bits += 2 * tensor.height * tensor.width * tensor.channels * tensor.planes
    ends = prod(program.image_shape[:2]) + program.result_count
    return -(-bits // WORD) + program.images * ends
