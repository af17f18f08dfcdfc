"""The command line of training."""

from pathlib import Path

import pytest

from golden.quantizers import ActivationEncoding
from golden.train_arguments import list_recipes, parse_arguments
from golden.train_config import Augmentation, Schedule, TrainConfig


def parse(line: str) -> TrainConfig:
    return parse_arguments(line.split()).config


def test_options_set_the_fields() -> None:
    line = (
        "resnet20 --weights float --activations 4 --encoding signed --epochs 5 --seed 9 "
        "--output a/b.pt --resume --no-compile --float32 --device cpu --threads 2 "
        "--schedule steps --milestones 2,3.5 --augmentation none"
    )
    assert parse(line) == TrainConfig(
        Path("a/b.pt"),
        log=Path("a/b.logs"),
        weight_bits=None,
        activation_bits=4,
        encoding=ActivationEncoding.SIGNED,
        epochs=5,
        seed=9,
        resume=True,
        compile=False,
        bfloat16=False,
        device="cpu",
        threads=2,
        schedule=Schedule.STEPS,
        milestones=(2.0, 3.5),
        augmentation=Augmentation.NONE,
    )


def test_without_options_the_default_recipe_of_the_data_set_decides() -> None:
    assert parse("vgg-small") == TrainConfig(
        Path("vgg-small.pt"), network="vgg-small", log=Path("vgg-small.logs")
    )
    assert parse("resnet18").epochs == 110


def test_logs_go_elsewhere_or_nowhere() -> None:
    assert parse("resnet20 --log runs/a").log == Path("runs/a")
    assert parse("resnet20 --no-log").log is None


def test_options_override_the_recipe_and_the_recipe_the_defaults() -> None:
    config = parse("resnet20 --recipe paper --batch 64 --epochs 20")
    assert (config.batch, config.peak_lr, config.nesterov) == (64, 0.1, False)
    assert config.milestones == (5.0, 10.0, 15.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "a network must be named, such as resnet20"),
        ("resnet20 --weights 9", "--weights: must be 1..8 or float, not '9'"),
        ("resnet20 --encoding odd", "--encoding: must be one of unsigned, signed, not 'odd'"),
        ("resnet20 --schedule x", "--schedule: must be one of one-cycle, steps, linear, not 'x'"),
        (
            "resnet20 --milestones 1;2",
            "--milestones: must be epochs with commas between, not '1;2'",
        ),
    ],
)
def test_wrong_usage(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(line.split())
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_list_of_recipes_needs_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_arguments(["--list-recipes"]).lists_recipes
    list_recipes()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("paper-resnet20") for line in lines)
