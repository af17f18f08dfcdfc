"""Recipes: the shipped ones, a user's own, and what is wrong with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from golden.networks import NETWORKS
from golden.recipe import RecipeError, find_recipe, read_recipe, shipped_recipes
from golden.train_config import Augmentation, Schedule, TrainConfig


def base(network: str = "resnet20") -> TrainConfig:
    return TrainConfig(Path("n.pt"), network=network)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_shipped_recipes_are_described_and_complete() -> None:
    recipes = shipped_recipes()
    assert [recipe.name for recipe in recipes] == [
        "cpu-30",
        "cpu-60",
        "paper-imagenet",
        "paper-imagenet-short",
        "paper-resnet20",
        "paper-vgg-small",
    ]
    for recipe in recipes:
        assert recipe.description
        assert recipe.settings.keys() >= {"epochs", "batch", "schedule", "peak_lr", "weight_decay"}


def test_the_default_recipe_sets_the_defaults() -> None:
    assert find_recipe("cpu-30", "resnet20").apply(base()) == base()
    assert find_recipe("cpu-60", "resnet20").apply(base()) == replace(base(), epochs=60)


def test_recipe_of_vgg_small_is_the_papers() -> None:
    assert find_recipe("paper", "vgg-small").apply(base("vgg-small")) == replace(
        base("vgg-small"),
        epochs=400,
        batch=100,
        peak_lr=0.02,
        schedule=Schedule.STEPS,
        milestones=(80.0, 160.0, 300.0),
        weight_decay=5e-4,
        nesterov=False,
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_has_a_recipe_of_the_paper(network: str) -> None:
    config = find_recipe("paper", network).apply(base(network))
    is_imagenet = NETWORKS[network].dataset == "imagenet"
    assert config.batch == (256 if is_imagenet else {"vgg-small": 100, "resnet20": 128}[network])
    assert (config.augmentation is Augmentation.AREA_CROP) == is_imagenet


def test_options_override_the_recipe() -> None:
    config = find_recipe("paper", "resnet20").apply(base(), batch=64, milestones=(7.0,))
    assert (config.batch, config.milestones, config.epochs) == (64, (7.0,), 200)


def test_another_schedule_leaves_the_milestones_of_the_recipe() -> None:
    recipe = find_recipe("paper", "resnet20")
    config = recipe.apply(base(), schedule=Schedule.ONE_CYCLE)
    assert (config.schedule, config.milestones) == (Schedule.ONE_CYCLE, ())


def test_own_recipe(tmp_path: Path) -> None:
    path = written(
        tmp_path, 'description = "mine"\nepochs = 4\npeak_lr = 1\nbfloat16 = false\nseed = 7\n'
    )
    recipe = find_recipe(str(path), "resnet20")
    assert (recipe.name, recipe.description) == ("mine", "mine")
    expected = replace(base(), epochs=4, peak_lr=1.0, bfloat16=False, seed=7)
    assert recipe.apply(base()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"mine\.toml: key must be one of description, epochs, .*, not 'epoch'$"),
        ("output = 'x'", r"mine\.toml: key must be one of .*, not 'output'$"),
        ("epochs = '3'", r"mine\.toml: epochs must be an integer, not '3'$"),
        ("epochs = 3.5", r"mine\.toml: epochs must be an integer, not 3\.5$"),
        ("batch = true", r"mine\.toml: batch must be an integer, not True$"),
        ("peak_lr = 'high'", r"mine\.toml: peak_lr must be a number, not 'high'$"),
        ("nesterov = 1", r"mine\.toml: nesterov must be true or false, not 1$"),
        ("milestones = 80", r"mine\.toml: milestones must be a list of numbers, not 80$"),
        ("milestones = ['a']", r"mine\.toml: milestones must be a list of numbers, not \['a'\]$"),
        ("schedule = 'cosine'", r": schedule must be one of one-cycle, .*, not 'cosine'$"),
        ("augmentation = 3", r": augmentation must be one of none, crop, area-crop, not 3$"),
        ("description = 3", r"mine\.toml: description must be text, not 3$"),
        ("epochs = ", r"^recipe .*mine\.toml must be a readable TOML file: "),
    ],
)
def test_wrong_recipes_name_the_key_and_the_rule(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(written(tmp_path, text))


def test_missing_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^there is no recipe .*none\.toml$"):
        find_recipe(str(tmp_path / "none.toml"), "resnet20")
    with pytest.raises(RecipeError, match=r"^recipe must be one of cpu-30, .*, not 'fast'$"):
        find_recipe("fast", "resnet20")


def test_recipe_that_does_not_suit_the_network(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, "augmentation = 'area-crop'"))
    with pytest.raises(ValueError, match=r"^augmentation must be crop or none for cifar10, not "):
        recipe.apply(base())
