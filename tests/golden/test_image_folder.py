"""Folders of images: batches, shares, repeatability, and what is wrong with a folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from golden.checkpoint import load_network
from golden.data import DataError
from golden.distributed import Ranks
from golden.image_folder import FolderSource
from golden.networks import NETWORKS
from golden.train import train
from golden.train_config import Augmentation, TrainConfig
from golden.training_data import TrainingError
from tests.golden.photographs import COLOURS, write_photographs
from tests.golden.training_runs import CPU

SIZE = 32


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), train=6, val=3)


def config(folder: Path, output: Path = Path("n.pt")) -> TrainConfig:
    return TrainConfig(
        output,
        dataset="imagenet",
        data=folder,
        batch=6,
        epochs=2,
        image_size=SIZE,
        workers=0,
        compile=False,
        threads=1,
    )


def source(settings: TrainConfig) -> FolderSource:
    assert settings.data is not None
    return FolderSource(settings.data, SIZE, settings, CPU)


def batches(settings: TrainConfig, epoch: int, ranks: Ranks) -> list[tuple[Tensor, Tensor]]:
    return list(source(settings).train_batches(epoch, ranks))


def test_sizes_and_classes_are_those_of_the_folder(photographs: Path) -> None:
    images = source(config(photographs))
    assert (images.classes, images.image_size) == (3, SIZE)
    assert (images.train_count, images.test_count) == (18, 9)


@pytest.mark.parametrize("augmentation", Augmentation)
def test_batches_hold_images_of_their_labels(photographs: Path, augmentation: Augmentation) -> None:
    settings = replace(config(photographs), augmentation=augmentation)
    found = batches(settings, 0, Ranks())
    assert [pixels.shape for pixels, _ in found] == [(6, SIZE, SIZE, 3)] * 3
    for pixels, labels in found:
        assert pixels.dtype == torch.uint8
        # Jitter and lighting change a colour, but not which channel is the strongest.
        assert pixels.double().mean((1, 2)).argmax(1).tolist() == labels.tolist()
    labels = torch.cat([labels for _, labels in found])
    assert labels.bincount().tolist() == [6, 6, 6]


def test_epochs_differ_and_each_can_be_repeated(photographs: Path) -> None:
    first, again, second = (batches(config(photographs), epoch, Ranks()) for epoch in (0, 0, 1))
    for (a, b), (c, d) in zip(first, again, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert not all(torch.equal(a, c) for (a, _), (c, _) in zip(first, second, strict=True))
    other = batches(replace(config(photographs), seed=2), 0, Ranks())
    assert not all(torch.equal(a, c) for (a, _), (c, _) in zip(first, other, strict=True))


def test_workers_and_processes_do_not_change_the_batches(photographs: Path) -> None:
    settings = config(photographs)
    whole = batches(settings, 1, Ranks())
    halves = [batches(replace(settings, workers=2), 1, Ranks(rank, 2)) for rank in range(2)]
    for i, (pixels, labels) in enumerate(whole):
        assert torch.equal(torch.cat([half[i][0] for half in halves]), pixels)
        assert torch.equal(torch.cat([half[i][1] for half in halves]), labels)


def test_tests_see_every_image_once_and_unvaried(photographs: Path) -> None:
    images = source(config(photographs))
    whole = list(images.test_batches(Ranks()))
    assert len(whole) == 1
    parts = [pair for rank in range(2) for pair in images.test_batches(Ranks(rank, 2))]
    assert torch.equal(torch.cat([pixels for pixels, _ in parts]), whole[0][0])
    assert whole[0][1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.equal(next(iter(images.test_batches(Ranks())))[0], whole[0][0])


def test_grey_and_transparent_images_become_rgb(photographs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photographs, tmp_path / "copy")
    name = next(iter(COLOURS))
    Image.new("L", (40, 60), 77).save(folder / "val" / name / "a.png")
    Image.new("RGBA", (60, 40), (1, 2, 3, 255)).save(folder / "val" / name / "b.PNG")
    pixels, labels = next(iter(source(config(folder)).test_batches(Ranks())))
    assert labels.tolist()[:5] == [0] * 5
    assert pixels[0].unique().tolist() == [77]
    assert pixels[1, 0, 0].tolist() == [1, 2, 3]


def test_a_network_trains_resumes_and_loads(photographs: Path, tmp_path: Path) -> None:
    settings = replace(config(photographs, tmp_path / "n.pt"), epochs=1)
    first = train(settings).history
    history = train(replace(settings, epochs=2, resume=True)).history
    assert history[0] == first[0]
    network = load_network(settings.output)
    assert network.classes == 3
    whole = train(replace(settings, epochs=2, output=tmp_path / "whole.pt")).history
    # The learning rate of the first epoch was that of a shorter run.
    assert [entry.epoch for entry in whole] == [1, 2]
    assert whole[1].loss < whole[0].loss


@pytest.mark.parametrize("name", [n for n, e in NETWORKS.items() if e.dataset == "imagenet"])
def test_every_network_of_imagenet_can_be_built_for_the_folder(name: str) -> None:
    with torch.device("meta"):
        entry = NETWORKS[name]
        network = entry.build(2, 2, image_size=entry.image_size, classes=3)
    assert network.classes == 3


class TestWrongFolders:
    @pytest.fixture
    def folder(self, photographs: Path, tmp_path: Path) -> Path:
        return shutil.copytree(photographs, tmp_path / "copy")

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"^there must be a folder .*/train with a folder for "):
            source(config(tmp_path))

    def test_folder_must_be_named(self) -> None:
        with pytest.raises(DataError, match=r"^--data must name the folder with train/CLASS/"):
            train(replace(config(Path("n")), data=None))

    @pytest.mark.parametrize("part", ["train", "val"])
    def test_class_is_missing(self, folder: Path, part: str) -> None:
        shutil.rmtree(folder / part / "n02-green")
        message = rf"/{part} must hold the same classes as its twin, but lacks 1: n02-green$"
        with pytest.raises(DataError, match=message):
            source(config(folder))

    def test_class_is_empty(self, folder: Path) -> None:
        for path in (folder / "train" / "n03-blue").iterdir():
            path.rename(path.with_suffix(".txt"))
        with pytest.raises(DataError, match=r"/train/n03-blue must hold images \(\.bmp, \.jpeg"):
            source(config(folder))

    def test_one_class_only(self, folder: Path) -> None:
        for name in list(COLOURS)[1:]:
            shutil.rmtree(folder / "train" / name)
        with pytest.raises(DataError, match=r"/train must hold two or more class folders, not \['"):
            source(config(folder))

    def test_too_few_images(self, folder: Path) -> None:
        with pytest.raises(TrainingError, match=r"^batch must be at most 18, not 19$"):
            train(replace(config(folder, folder / "n.pt"), batch=19))

    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("damage", ["cut", "text"])
    def test_corrupt_image_is_named(self, folder: Path, workers: int, damage: str) -> None:
        path = folder / "val" / "n02-green" / "n02-green_1.JPEG"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"text\nof two lines")
        images = source(replace(config(folder), workers=workers))
        message = rf"^{path} must be a readable image: [^\n]*$"
        with pytest.raises(DataError, match=message):
            list(images.test_batches(Ranks()))


def test_labels_follow_the_sorted_names_of_the_classes(photographs: Path) -> None:
    pixels, labels = next(iter(source(config(photographs)).test_batches(Ranks())))
    strongest = pixels.double().mean((1, 2)).argmax(1)
    assert np.array_equal(strongest, labels)
