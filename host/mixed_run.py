"""``lqfpga mixed-precision``: images, search, progress, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from golden.onnx_import import import_model
from golden.post_training import PostTraining
from host.labelled_images import LabelledImages, calibration_images, labelled_images
from host.mixed_precision import MixedSearch, PrecisionError, PrecisionPoint, front_of
from host.mixed_report import draw_precision_front, points_csv, precision_table
from hw.config import AcceleratorConfig

__all__ = ["run_mixed_precision"]

JOURNAL, PICTURE, TABLE, MODELS = "study.log", "front.png", "points.csv", "models"


def run_mixed_precision(
    model: Path,
    config: AcceleratorConfig,
    *,
    weights: Sequence[int],
    activations: Sequence[int],
    trials: int,
    images: Path | None,
    validation: int,
    others: int,
    sample: Path | None,
    calibration: int,
    folder: Path | None,
    seed: int,
    output: Path,
) -> list[PrecisionPoint]:
    """Search, print the front and write it below ``output``; returns the front.

    Arguments as the command's options.

    Raises:
        ModelError, DataError, ImageError: The model or the images cannot be used.
        PrecisionError: No choice has a program; the text has a reason.
    """
    graph = import_model(model)
    chosen = labelled_images(images, graph, validation + others, folder)
    searched = LabelledImages(chosen.pixels[:validation], chosen.labels[:validation])
    unseen = LabelledImages(chosen.pixels[validation:], chosen.labels[validation:])
    samples = calibration_images(sample, graph, calibration, folder)
    errors = Console(stderr=True)
    with errors.status("measure the model ..."):
        quantizer = PostTraining(graph, samples)
    with errors.status("find out what fits ..."):
        search = MixedSearch(
            quantizer,
            config,
            searched,
            weights=weights,
            activations=activations,
            journal=output / JOURNAL,
            seed=seed,
        )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[best]}"),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("search", total=trials, best="")

        def told(point: PrecisionPoint | None) -> None:
            best = max(search.points(), key=lambda p: p.accuracy, default=None)
            text = "" if best is None else f"best {best.accuracy:.1%}, {best.cycles:,} cycles"
            bar.update(task, completed=search.done, best=text)

        search.run(trials, told)
    points = search.points()
    if not points:
        raise PrecisionError(f"no trial has a program on {config.name}: {search.problems()[0]}")
    front = front_of(points)
    if len(unseen.pixels):
        with errors.status("evaluate the front ..."):
            front = [search.with_other_accuracy(point, unseen) for point in front]
    title = f"{model.stem} on {config.name}, {len(searched.pixels):,} validation images"
    (output / MODELS).mkdir(parents=True, exist_ok=True)
    for number, point in enumerate(front, 1):
        name = f"{number:02}.onnx"
        (output / MODELS / name).write_bytes(search.model(point))
    (output / TABLE).write_text(points_csv(points, front, quantizer))
    draw_precision_front(points, front, output / PICTURE, title=title)
    console = Console()
    console.print(precision_table(front, quantizer, title=title))
    failed = search.done - len(points)
    for problem in search.problems():
        console.print(f"left out: {problem}", markup=False, highlight=False)
    console.print(
        f"{search.done} trials, {len(points)} different points with a program, {failed} others; "
        f"written: {output / PICTURE}, {output / TABLE}, {output / MODELS}",
        markup=False,
        highlight=False,
    )
    return front
