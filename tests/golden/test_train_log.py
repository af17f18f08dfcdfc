"""TensorBoard logs: what is in them, and no step twice after a resumed run."""

from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from golden import train_log
from golden.data import Cifar10
from golden.train import train
from golden.train_config import TrainConfig
from golden.trainer import Trainer
from tests.golden.training_runs import tiny_config, tiny_data

STEPS_PER_EPOCH = 3


@pytest.fixture(scope="module")
def tiny() -> Cifar10:
    return tiny_data()


def logged_config(folder: Path) -> TrainConfig:
    return replace(tiny_config(folder / "n.pt"), epochs=2, log=folder / "logs")


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every curve, as TensorBoard shows them."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_curves_of_a_run(tmp_path: Path, tiny: Cifar10, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_log, "STEPS_PER_POINT", 2)
    config = logged_config(tmp_path)
    history = train(config, tiny).history
    found = curves(tmp_path / "logs")
    ends = [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    assert found["loss/epochs"] == [
        (step, pytest.approx(result.loss)) for step, result in zip(ends, history, strict=True)
    ]
    assert [value for _, value in found["accuracy/training"]] == pytest.approx(
        [result.train_accuracy for result in history]
    )
    assert [value for _, value in found["accuracy/test"]] == pytest.approx(
        [result.test_accuracy for result in history]
    )
    # Two steps of each epoch make a point; the third is alone.
    assert [step for step, _ in found["loss/steps"]] == [2, 5]
    assert [step for step, _ in found["learning rate"]] == [2, 5]
    bases = [tag for tag in found if tag.startswith("basis ")]
    assert len(bases) == 2 * (18 + 18)
    assert "basis stages.0.0.quant1/0" in bases
    assert [step for step, _ in found["basis stages.0.0.conv1.weight_quant/1"]] == ends


def test_a_resumed_run_has_the_curves_of_an_uninterrupted_one(
    tmp_path: Path, tiny: Cifar10, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_log, "STEPS_PER_POINT", 1)
    train(logged_config(tmp_path / "whole"), tiny)
    broken = logged_config(tmp_path / "broken")

    class Stopped(Exception):
        pass

    def fail(trainer: Trainer) -> None:
        if len(trainer.history) == 2:
            raise Stopped
        save(trainer)

    save = Trainer.save
    with monkeypatch.context() as patched:
        # The second epoch is in the log, but not in the checkpoint.
        patched.setattr(Trainer, "save", fail)
        with pytest.raises(Stopped):
            train(broken, tiny)
    assert [step for step, _ in curves(tmp_path / "broken" / "logs")["loss/epochs"]] == [3, 6]
    train(replace(broken, resume=True), tiny)
    assert curves(tmp_path / "broken" / "logs") == curves(tmp_path / "whole" / "logs")


def test_without_a_folder_nothing_is_logged(tmp_path: Path, tiny: Cifar10) -> None:
    train(replace(tiny_config(tmp_path / "n.pt"), epochs=1), tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["n.pt"]
