"""Learning rates of every step."""

from pathlib import Path

import pytest

from golden.recipe import find_recipe
from golden.schedule import learning_rate
from golden.train_config import Schedule, TrainConfig


def config(**settings: object) -> TrainConfig:
    return TrainConfig(Path("n.pt"), **settings)  # pyright: ignore[reportArgumentType]


def recipe(name: str, network: str, **overrides: object) -> TrainConfig:
    return find_recipe(name, network).apply(config(network=network), **overrides)


def changes(settings: TrainConfig, steps_per_epoch: int) -> list[tuple[int, float]]:
    """First step of every stretch of equal learning rates, and the rate."""
    found: list[tuple[int, float]] = []
    for step in range(settings.epochs * steps_per_epoch):
        rate = learning_rate(settings, step, steps_per_epoch)
        if not found or rate != found[-1][1]:
            found.append((step, rate))
    return found


def test_one_cycle_rises_linearly_and_falls_as_a_cosine() -> None:
    cycle = config(epochs=10, peak_lr=0.2, rise=0.15)
    rates = [learning_rate(cycle, step, 100) for step in range(1001)]
    assert rates[0] == pytest.approx(0.008)
    assert rates[75] == pytest.approx((0.008 + 0.2) / 2)
    assert rates[150] == 0.2
    assert rates[:151] == sorted(rates[:151])
    assert rates[150:] == sorted(rates[150:], reverse=True)
    assert rates[575] == pytest.approx(0.1)
    assert rates[1000] == 0.0


def test_a_cycle_without_rise_is_a_cosine() -> None:
    cosine = config(epochs=1, peak_lr=0.4, rise=0.0)
    assert [learning_rate(cosine, step, 2) for step in (0, 1, 2)] == pytest.approx([0.4, 0.2, 0])


@pytest.mark.parametrize(
    ("name", "network", "steps", "expected"),
    [
        ("paper", "resnet20", 390, [(0, 0.1), (19_500, 1e-2), (39_000, 1e-3), (58_500, 1e-4)]),
        ("paper", "vgg-small", 500, [(0, 2e-2), (40_000, 2e-3), (80_000, 2e-4), (150_000, 2e-5)]),
        (
            "paper",
            "resnet18",
            7,
            [(0, 0.1), (210, 1e-2), (420, 1e-3), (595, 1e-4), (665, 1e-5), (735, 1e-6)],
        ),
    ],
)
def test_rates_of_the_paper_fall_at_their_epochs(
    name: str, network: str, steps: int, expected: list[tuple[int, float]]
) -> None:
    found = changes(recipe(name, network), steps)
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [rate for _, rate in found] == pytest.approx([rate for _, rate in expected])


def test_milestones_keep_their_places_in_a_shorter_run() -> None:
    short = recipe("paper", "vgg-small", epochs=10)
    assert short.milestones == (2.0, 4.0, 7.5)
    assert [step for step, _ in changes(short, 4)] == [0, 8, 16, 30]


def test_linear_schedule_ends_at_its_last_rate() -> None:
    line = recipe("paper-imagenet-short", "alexnet")
    steps = 64 * 5000
    assert learning_rate(line, 0, 5000) == 0.1
    assert learning_rate(line, steps // 2, 5000) == pytest.approx((0.1 + 1e-5) / 2)
    assert learning_rate(line, steps, 5000) == pytest.approx(1e-5)
    assert line.schedule is Schedule.LINEAR
