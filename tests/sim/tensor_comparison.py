"""The functional simulator's tensors beside those of the integer reference."""

from __future__ import annotations

import numpy as np

from compiler.program import Program
from golden.integer_network import IntegerNetwork
from golden.integer_reference import logits_name, run
from hw.config import AcceleratorConfig
from sim.functional import FunctionalSimulator
from sim.images import stacked


def wrong_tensors(
    network: IntegerNetwork, program: Program, config: AcceleratorConfig, images: np.ndarray
) -> list[str]:
    """Names of the tensors of a run that differ from those of its images, one by one.

    Args:
        network: Of one image.
        program: Of that network, or of a batch of ``len(images)``.
        config: Sizes.
        images: uint8 [N, height, width, channels], all of them in one run.
    """
    simulator = FunctionalSimulator(program, config)
    logits = simulator.run(stacked(images, len(images))[0])
    expected = run(network, images)
    wrong = []
    for info in program.tensors:
        want = expected[info.name].reshape(info.height, info.width, info.channels)
        if info.kind == "planes":
            want = want & ((1 << info.planes) - 1)
        if (simulator.tensor(info) != want).any():
            wrong.append(info.name)
    if (logits != expected[logits_name(network)].reshape(len(images), -1)).any():
        wrong.append("logits")
    return wrong
