"""The memory test finds stuck bits, wires that are joined and addresses that mean the same."""

import pytest

from host.framing import Frame
from host.link import Client
from host.memory_test import (
    BLOCK_WORDS,
    MemoryTestError,
    external_words,
    pattern,
    run_memory_test,
)
from hw.link.protocol import FrameType
from hw.memory.sdram_part import sdram_part
from tests.host.model_device import ModelDevice, ModelTransport

WORDS = BLOCK_WORDS + 1000


class FaultyDevice(ModelDevice):
    """A memory that does with addresses and words what a fault makes of them."""

    def __init__(self, *, address_mask: int = -1, stuck: int = 0, at: int | None = None) -> None:
        super().__init__()
        self._address_mask = address_mask
        self._stuck = stuck
        self._at = at

    def _execute(self, frame: Frame) -> Frame:
        if frame.kind == FrameType.WRITE:
            for place, word in enumerate(frame.words[1:], frame.words[0]):
                here = self._at is None or place == self._at
                self.memory[place & self._address_mask] = word | (self._stuck if here else 0)
            return Frame(FrameType.ACK, frame.sequence)
        if frame.kind == FrameType.READ:
            places = range(frame.words[0], frame.words[0] + frame.count)
            words = tuple(self.memory.get(place & self._address_mask, 0) for place in places)
            return Frame(FrameType.ACK, frame.sequence, len(words), words=words)
        return super()._execute(frame)


def test_a_good_memory_passes_and_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    with Client(ModelTransport(FaultyDevice())) as client:
        result = run_memory_test(client, WORDS, lambda *step: seen.append(step))
    assert result.words == WORDS
    assert seen[-1] == (4 * WORDS, 4 * WORDS)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_stuck_bit_of_one_word_is_named() -> None:
    place = BLOCK_WORDS + 77
    (word,) = pattern(place, 1, inverse=False).tolist()
    bit = next(bit for bit in range(32) if not word >> bit & 1)
    device = FaultyDevice(stuck=1 << bit, at=place)
    expected = (
        f"word {place:#08x} must be {word:#010x}, not {word | 1 << bit:#010x} \\(bit {bit}\\); "
        f"1 of 5,096 words differ, in bit {bit}$"
    )
    with Client(ModelTransport(device)) as client, pytest.raises(MemoryTestError, match=expected):
        run_memory_test(client, WORDS)


def test_bits_that_are_stuck_everywhere_are_named_together() -> None:
    device = FaultyDevice(stuck=1 << 3 | 1 << 30)
    with (
        Client(ModelTransport(device)) as client,
        pytest.raises(MemoryTestError, match=r"of 5,096 words differ, in bits 3, 30$"),
    ):
        run_memory_test(client, WORDS)


def test_an_address_line_that_is_not_connected_shows() -> None:
    device = FaultyDevice(address_mask=~(1 << 9))
    with (
        Client(ModelTransport(device)) as client,
        pytest.raises(MemoryTestError, match="words differ"),
    ):
        run_memory_test(client, WORDS)


def test_patterns_differ_for_all_addresses_and_use_every_bit() -> None:
    words = pattern(0, 1 << 16, inverse=False)
    assert len(set(words.tolist())) == 1 << 16
    for bit in range(32):
        assert 0 < int((words >> bit & 1).sum()) < 1 << 16
    assert (pattern(5, 10, inverse=True) ^ pattern(5, 10, inverse=False) == 0xFFFFFFFF).all()


def test_the_size_comes_from_the_preset() -> None:
    assert external_words("ulx3s-85f-sdram") == sdram_part("16Mx16").words == 1 << 23
    with pytest.raises(MemoryTestError, match="does not know the preset other"):
        external_words("other")
    with Client(ModelTransport(FaultyDevice())) as client:
        with pytest.raises(ValueError, match="words must be at least 1, not 0"):
            run_memory_test(client, 0)
