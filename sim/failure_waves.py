"""The waveform of a failed run: the cycles around what went wrong, from a second run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from hw.config import AcceleratorConfig

from .bench import Bench
from .job import ImageResult, Job, Window

__all__ = ["record_waves"]

WINDOW_SIZE = 8_000_000
"""Cycles times binary multiply-accumulates per cycle before a mismatch that the waveform shows:
about 80 MB of VCD at every size of the array, a tenth of that as FST."""
WINDOW_CYCLES = (500, 4000)
"""Bounds of the cycles before a mismatch."""
WINDOW_AFTER = 100


def record_waves(bench: Bench, folder: Path, job: Job, result: ImageResult) -> str:
    """Run the failing image of the job in ``folder`` once more, alone, with a waveform; the file's
    path."""
    window = _window(result, bench.config)
    bench.console.print(
        f"run {result.image} failed: recording a waveform of its cycles {window.first} to "
        f"{window.last}",
        markup=False,
    )
    simulator = replace(bench.simulator, waves=True)
    build = bench.build(simulator)
    planes = job.planes[result.image : result.image + 1]
    replace(job, images=(result.image,), window=window, planes=planes).save(folder)
    with bench.step("record waveform"):
        simulator.run(build, [folder])
    final = bench.out / simulator.wave_file
    shutil.move(folder / simulator.wave_file, final)
    return str(final)


def _window(result: ImageResult, config: AcceleratorConfig) -> Window:
    """Cycles to look at: before the mismatch, or before the end if nothing was written."""
    end = result.cycles
    if result.mismatch:
        end = result.mismatch["cycle"]
        if end is None:
            end = 0
            for layer in result.layers:
                end += layer["cycles"]
                if layer["name"] == result.mismatch["layer"]:
                    break
    shortest, longest = WINDOW_CYCLES
    before = min(max(WINDOW_SIZE // config.array.binary_macs_per_cycle, shortest), longest)
    return Window(first=max(0, end - before), last=end + WINDOW_AFTER)
