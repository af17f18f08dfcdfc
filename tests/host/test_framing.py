import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.framing import Frame, FrameSplitter, FramingError, cobs_decode, cobs_encode
from hw.link.protocol import FRAME_BYTES_MAXIMUM, PAYLOAD_WORDS_MAXIMUM

BYTES_WITH_ZEROS = st.lists(st.sampled_from([0, 1, 2, 255]), max_size=600).map(bytes)

FRAMES = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(st.integers(0, (1 << 32) - 1), max_size=PAYLOAD_WORDS_MAXIMUM).map(tuple),
)


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        ("", "01"),
        ("00", "0101"),
        ("0000", "010101"),
        ("11220033", "0311220233"),
        ("11000000", "0211010101"),
        ("01" * 254, "ff" + "01" * 254),
        ("01" * 254 + "00", "ff" + "01" * 254 + "0101"),
        ("01" * 255, "ff" + "01" * 254 + "0201"),
    ],
)
def test_cobs_known_vectors(data: str, encoded: str) -> None:
    assert cobs_encode(bytes.fromhex(data)).hex() == encoded
    assert cobs_decode(bytes.fromhex(encoded)).hex() == data


@given(st.one_of(st.binary(max_size=600), BYTES_WITH_ZEROS))
def test_cobs_round_trip(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + 1 + len(data) // 254
    assert cobs_decode(encoded) == data


@given(FRAMES)
def test_frame_round_trip(frame: Frame) -> None:
    encoded = frame.encode()
    assert encoded.count(0) == 1
    assert encoded[-1] == 0
    assert Frame.decode(encoded[:-1]) == frame


@given(st.binary(max_size=400))
def test_only_framing_errors_come_out_of_garbage(garbage: bytes) -> None:
    with pytest.raises(FramingError):
        Frame.decode(garbage)


@pytest.mark.parametrize("seed", range(3))
def test_no_flip_of_any_byte_is_accepted(seed: int) -> None:
    rng = Random(seed)
    encoded = Frame(2, seed, 3, 0, tuple(rng.getrandbits(32) for _ in range(4))).encode()
    for position in range(len(encoded)):
        for mask in (1, 0x80, rng.randrange(1, 256)):
            damaged = bytearray(encoded)
            damaged[position] ^= mask
            assert FrameSplitter().feed(bytes(damaged)) == []


@given(st.lists(FRAMES, max_size=5), st.randoms(use_true_random=False))
def test_splitter_takes_pieces_of_any_size(frames: list[Frame], rng: Random) -> None:
    splitter = FrameSplitter()
    line = b"".join(frame.encode() for frame in frames)
    received = []
    while line:
        size = rng.randrange(1, 100)
        received += splitter.feed(line[:size])
        line = line[size:]
    assert received == frames
    assert splitter.damaged == 0


def test_splitter_survives_a_flood() -> None:
    splitter = FrameSplitter()
    for _ in range(100):
        assert splitter.feed(b"\x55" * 1000) == []
    body = bytes(FRAME_BYTES_MAXIMUM)
    too_long = cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"
    assert splitter.feed(b"\0" + too_long) == []
    assert splitter.damaged == 2
    frame = Frame(1, 2)
    assert splitter.feed(frame.encode()) == [frame]
