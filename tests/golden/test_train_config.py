"""Settings of a run that cannot be, and what a checkpoint keeps of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.train_config import Augmentation, Schedule, TrainConfig, first_difference

STEPS = Schedule.STEPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "x"}, r"^network must be one of resnet20, vgg-small, .*, not 'x'$"),
        ({"epochs": 0}, r"^epochs must be positive, not 0$"),
        ({"batch": -1}, r"^batch must be positive, not -1$"),
        ({"peak_lr": 0.0}, r"^peak_lr must be positive, not 0.0$"),
        ({"peak_lr": float("nan")}, r"^peak_lr must be positive, not nan$"),
        ({"decay": -0.1}, r"^decay must be positive, not -0.1$"),
        ({"rise": 1.0}, r"^rise must be in 0\.\.1, not 1.0$"),
        ({"momentum": 1.5}, r"^momentum must be in 0\.\.1, not 1.5$"),
        ({"momentum": 0.0}, r"^momentum must be positive with nesterov, not 0$"),
        ({"weight_decay": -1.0}, r"^weight_decay must not be negative, not -1.0$"),
        ({"schedule": STEPS}, r"^milestones must be given with steps and only then, not \[\]$"),
        ({"milestones": (3.0,)}, r"^milestones must be given with steps and only then, not \[3"),
        (
            {"schedule": STEPS, "milestones": (5.0, 2.0)},
            r"^milestones must rise within 0\.\.30 epochs, not \[5.0, 2.0\]$",
        ),
        (
            {"schedule": STEPS, "milestones": (31.0,)},
            r"^milestones must rise within 0\.\.30 epochs, not \[31.0\]$",
        ),
        ({"device": "tpu"}, r"^device must be one of auto, cpu, cuda, not 'tpu'$"),
        ({"dataset": "mnist"}, r"^dataset must be one of cifar10, imagenet, not 'mnist'$"),
        (
            {"network": "resnet18", "dataset": "cifar10"},
            r"^dataset of resnet18 must be imagenet, not cifar10$",
        ),
        ({"image_size": 64}, r"^image_size must be 32 for cifar10, not 64$"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TrainConfig(Path("n.pt")), **change)


def test_a_checkpoint_keeps_plain_values_and_no_paths() -> None:
    config = TrainConfig(
        Path("/home/me/n.pt"),
        schedule=STEPS,
        milestones=(1.5, 2.0),
        data=Path("/data"),
        log=Path("/logs"),
    )
    plain = config.to_plain()
    assert plain["schedule"] == "steps"
    assert plain["milestones"] == [1.5, 2.0]
    assert plain["encoding"] == "unsigned"
    assert plain["dataset"] == "cifar10"
    assert all(isinstance(v, str | int | float | list | None) for v in plain.values())
    assert "/" not in str(plain)


def test_settings_that_an_early_checkpoint_does_not_name_have_their_defaults() -> None:
    config = TrainConfig(Path("n.pt"))
    early = {
        name: value
        for name, value in config.to_plain().items()
        if name not in ("schedule", "milestones", "dataset", "augmentation", "nesterov")
    }
    assert first_difference(early, config) is None
    other = replace(config, augmentation=Augmentation.NONE)
    assert first_difference(early, other) == ("augmentation", "crop", "none")


def test_a_resumed_run_may_have_another_length_but_no_other_settings() -> None:
    config = TrainConfig(Path("n.pt"), schedule=STEPS, milestones=(10.0,))
    longer = replace(config, epochs=60, milestones=(20.0,), device="cpu", threads=3)
    assert first_difference(config.to_plain(), longer) is None
    other = replace(config, weight_decay=0.5)
    assert first_difference(config.to_plain(), other) == ("weight_decay", 1e-4, 0.5)
