"""Batches of CIFAR-10: augmentation, order, shares of processes."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from golden.distributed import Ranks
from golden.train_config import Augmentation, TrainConfig
from golden.training_data import CifarSource, crop_and_mirror, draw_crops
from tests.golden.training_runs import CPU, tiny_config, tiny_data


def source(config: TrainConfig) -> CifarSource:
    return CifarSource(tiny_data(), config, CPU)


def test_augmentation_shifts_and_mirrors() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8, generator=generator)
    out = crop_and_mirror(pixels, *draw_crops(64, generator))
    assert out.shape == pixels.shape
    assert out.dtype == torch.uint8
    padded = torch.full((64, 40, 40, 3), 128, dtype=torch.uint8)
    padded[:, 4:36, 4:36] = pixels
    found = []
    for whole, image in zip(padded, out, strict=True):
        matches = [
            (row, column, mirrored)
            for row in range(9)
            for column in range(9)
            for mirrored in (False, True)
            if torch.equal(
                whole[row : row + 32, column : column + 32].flip(1)
                if mirrored
                else whole[row : row + 32, column : column + 32],
                image,
            )
        ]
        assert len(matches) == 1
        found += matches
    assert len({row for row, _, _ in found}) == 9
    assert len({column for _, column, _ in found}) == 9
    assert 16 < sum(mirrored for _, _, mirrored in found) < 48


def test_an_epoch_has_each_image_once_and_its_own_order() -> None:
    config = replace(tiny_config(Path("n.pt")), augmentation=Augmentation.NONE)
    data, images = tiny_data(), source(config)

    def order(epoch: int) -> list[int]:
        batches = list(images.train_batches(epoch, Ranks()))
        assert [len(labels) for _, labels in batches] == [8, 8, 8]
        pixels = torch.cat([pixels for pixels, _ in batches]).flatten(1)
        labels = torch.cat([labels for _, labels in batches])
        known = torch.from_numpy(data.train.pixels).flatten(1)
        indices = [int((known == row).all(1).nonzero().item()) for row in pixels]
        assert labels.tolist() == [int(data.train.labels[i]) for i in indices]
        return indices

    assert sorted(order(0)) == list(range(24))
    assert order(0) == order(0) != order(1)


def test_an_incomplete_batch_is_dropped() -> None:
    config = replace(tiny_config(Path("n.pt")), batch=9)
    assert len(list(source(config).train_batches(0, Ranks()))) == 2


def test_shares_of_processes_are_the_batches_of_one() -> None:
    images = source(tiny_config(Path("n.pt")))

    def batches(rank: int, count: int) -> list[tuple[Tensor, Tensor]]:
        return list(images.train_batches(3, Ranks(rank, count)))

    whole, shares = batches(0, 1), [batches(rank, 4) for rank in range(4)]
    for i, (pixels, labels) in enumerate(whole):
        assert torch.equal(torch.cat([share[i][0] for share in shares]), pixels)
        assert torch.equal(torch.cat([share[i][1] for share in shares]), labels)


def test_test_images_are_shared_without_rest() -> None:
    images = source(tiny_config(Path("n.pt")))
    parts = [[labels for _, labels in images.test_batches(Ranks(r, 3))] for r in range(3)]
    assert [sum(len(labels) for labels in part) for part in parts] == [3, 3, 4]
    joined = torch.cat([labels for part in parts for labels in part])
    assert joined.tolist() == tiny_data().test.labels.tolist()
