"""VGG-Small at several widths on the board's array: do cycles follow the number of plane pairs?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from golden.example_model import calibrated_network, example_images
from golden.export import export_model

__all__ = ["NETWORK", "PRESET", "WIDTHS", "ScalingResult", "measure_scaling"]

NETWORK = "vgg-small"
PRESET = "simulation-large"
"""The array of the largest board with memories that hold the network, as the board's do not."""
WIDTHS = ((1, 1), (1, 2), (2, 2), (3, 3), (4, 4))


@dataclass(frozen=True, kw_only=True)
class ScalingResult:
    """One pair of widths; cycles are counted in RTL, loads and drains included."""

    weights: int
    activations: int
    cycles_per_image: int
    utilization: float
    quantized_cycles: int
    """Of the layers with these widths; the first and the last layer have others."""
    quantized_utilization: float

    @property
    def cycles_per_pair(self) -> float:
        """Cycles of the quantized layers for each pair of planes."""
        return self.quantized_cycles / (self.weights * self.activations)


def measure_scaling(work: Path, console: Console) -> list[ScalingResult]:
    """Run an example model of each pair of widths on the RTL.

    Raises:
        ValueError: A value differs from the integer reference, or a cycle from the cycle model.
    """
    # Not at the top: test benches are heavy to import.
    from sim.cosimulation import simulate

    work.mkdir(parents=True, exist_ok=True)
    results = []
    for weights, activations in WIDTHS:
        model = work / f"{NETWORK}-w{weights}a{activations}.onnx"
        network = calibrated_network(NETWORK, weights, activations)
        export_model(network, model, calibration_images=example_images(network.image_shape))
        report = simulate(model, limit=1, preset_name=PRESET, out=work, console=console)
        if not report.passed:
            reason = report.mismatch or report.cycle_difference or report.error
            raise ValueError(f"model {model.stem} must be equal on the RTL: {reason}")
        label = f"W{weights} A{activations}"
        quantized = [layer for layer in report.layers if layer.widths == label]
        cycles = sum(layer.cycles for layer in quantized)
        results.append(
            ScalingResult(
                weights=weights,
                activations=activations,
                cycles_per_image=report.cycles_per_image,
                utilization=report.utilization,
                quantized_cycles=cycles,
                quantized_utilization=sum(
                    layer.utilization * layer.cycles / cycles for layer in quantized
                ),
            )
        )
    return results
