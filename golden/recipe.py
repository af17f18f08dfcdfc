"""Recipes: TOML files that set how a network is trained.

A recipe names fields of :class:`golden.train_config.TrainConfig`, and may have a ``description``.
It says nothing about the network and its widths, or about the machine.
"""

import enum
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from golden.networks import NETWORKS
from golden.train_config import Augmentation, Schedule, TrainConfig

FOLDER = Path(__file__).parent / "recipes"

KINDS: dict[str, type] = {
    "epochs": int,
    "batch": int,
    "schedule": Schedule,
    "peak_lr": float,
    "rise": float,
    "milestones": list,
    "decay": float,
    "final_lr": float,
    "momentum": float,
    "nesterov": bool,
    "weight_decay": float,
    "augmentation": Augmentation,
    "bfloat16": bool,
    "image_size": int,
    "seed": int,
}
"""Keys of a recipe and the types of their values."""

KIND_NAMES: dict[type, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list of numbers",
}


class RecipeError(ValueError):
    """A recipe that does not exist or cannot be used. The text names the key and the rule."""


@dataclass(frozen=True)
class Recipe:
    """A recipe: its name, what it is for, and the fields that it sets."""

    name: str
    description: str
    settings: dict[str, Any]

    def apply(self, config: TrainConfig, **overrides: Any) -> TrainConfig:
        """``config`` with the recipe's settings, and ``overrides`` over these.

        Milestones of the recipe keep their places in the run if ``overrides`` change its length.

        Raises:
            ValueError: If the settings do not fit together or do not suit the network.
        """
        settings = {**self.settings, **overrides}
        if "milestones" in self.settings and "milestones" not in overrides:
            stretch = settings.get("epochs", 1) / self.settings.get("epochs", 1)
            settings["milestones"] = tuple(m * stretch for m in self.settings["milestones"])
            if settings["schedule"] is not Schedule.STEPS:
                del settings["milestones"]
        return replace(config, **settings)


def shipped_recipes() -> list[Recipe]:
    """The recipes that come with the project, by name."""
    return [read_recipe(path) for path in _shipped_paths()]


def find_recipe(name: str, network: str) -> Recipe:
    """A recipe for ``network``.

    Args:
        name: A path that ends in ``.toml``, or the name of a shipped recipe; ``-NETWORK`` or
            ``-DATASET`` may be left out, so that ``paper`` is ``paper-resnet20`` for resnet20.
        network: As in ``golden.networks``.

    Raises:
        RecipeError: If there is no such recipe, or it cannot be used.
    """
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    endings = ("", f"-{network}", f"-{NETWORKS[network].dataset}" if network in NETWORKS else "")
    for ending in endings:
        path = FOLDER / f"{name}{ending}.toml"
        if path.is_file():
            return read_recipe(path)
    known = ", ".join(path.stem for path in _shipped_paths())
    raise RecipeError(f"recipe must be one of {known} or a .toml file, not {name!r}")


def read_recipe(path: Path) -> Recipe:
    """Read and check one recipe file.

    Raises:
        RecipeError: If there is no such file, it is no TOML, or a key or value is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"there is no recipe {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"recipe {path} must be a readable TOML file: {error}") from error
    description = content.pop("description", "")
    if not isinstance(description, str):
        raise RecipeError(f"recipe {path}: description must be text, not {description!r}")
    try:
        settings = {name: _value(name, value) for name, value in content.items()}
    except ValueError as error:
        raise RecipeError(f"recipe {path}: {error}") from error
    return Recipe(path.stem, description, settings)


def _value(name: str, value: Any) -> Any:
    """A value of the file as the field of the configuration holds it."""
    if name not in KINDS:
        known = ", ".join(["description", *KINDS])
        raise ValueError(f"key must be one of {known}, not {name!r}")
    kind = KINDS[name]
    if issubclass(kind, enum.Enum):
        known = [member.value for member in kind]
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        return kind(value)
    if kind is list and isinstance(value, list) and all(_is_number(entry) for entry in value):
        return tuple(float(entry) for entry in value)
    if kind is float and _is_number(value):
        return float(value)
    # A bool is an int for Python, but not for the reader of a recipe.
    if kind not in (list, float) and type(value) is kind:
        return value
    raise ValueError(f"{name} must be {KIND_NAMES[kind]}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shipped_paths() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"), key=lambda path: path.stem)
