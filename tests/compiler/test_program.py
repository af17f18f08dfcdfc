"""Programs: the file format and its errors, and the words to load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.program import LayerInfo, Program, ProgramError, Stage, TensorInfo
from compiler.program_file import load_program, parse_program, program_bytes, save_program


def _program() -> Program:
    return Program(
        network="net",
        preset="tiny",
        fingerprint=7,
        stages=(
            Stage(entry=3, memory=np.arange(30, dtype=np.uint32) << 20),
            Stage(entry=0, memory=np.arange(8, dtype=np.uint32)),
        ),
        image_entry=4,
        image_address=0,
        image_shape=(2, 2, 3),
        result_address=9,
        result_count=2,
        result_fraction=3,
        labels=("a", "b"),
        layers=(
            LayerInfo(
                tag=0,
                name="fc",
                kind="convolution",
                output_shape=(1, 1, 2),
                convolution_shape=(1, 1, 2),
                weight_label="W8",
                source_label="A8",
                binary_macs=10,
                tensors=("logits",),
            ),
        ),
        tensors=(
            TensorInfo(
                name="logits",
                kind="raw",
                layer=0,
                height=1,
                width=1,
                channels=2,
                planes=32,
                slots=1,
                base=0,
                pixel_stride=1,
                row_stride=1,
                order=(0, 1, -1, -1),
            ),
        ),
        memory=np.arange(20, dtype=np.uint32),
    )


def test_a_saved_program_loads_equal(tmp_path: Path) -> None:
    program = _program()
    save_program(program, tmp_path / "p")
    loaded = load_program(tmp_path / "p")
    assert program_bytes(loaded) == program_bytes(program)
    assert loaded.layers == program.layers
    assert loaded.tensors == program.tensors
    assert [stage.entry for stage in loaded.stages] == [3, 0]
    for read, written in zip(loaded.stages, program.stages, strict=True):
        assert read.memory.dtype == np.uint32
        assert read.memory.tolist() == written.memory.tolist()
    assert loaded.memory.tolist() == program.memory.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_program_without_stages_loads_equal() -> None:
    program = replace(_program(), stages=())
    loaded = parse_program(program_bytes(program))
    assert loaded.stages == ()
    assert loaded.memory.tolist() == program.memory.tolist()


def test_words_to_load_are_those_of_all_stages_and_of_the_image() -> None:
    assert _program().load_words == 30 + 8 + 20
    assert replace(_program(), stages=()).load_words == 20


def test_a_file_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("compiler.program_file.FORMAT_VERSION", 1)
        content = program_bytes(_program())
    with pytest.raises(ProgramError, match=r"^program format must be 5, not 1$"):
        parse_program(content)


def test_every_flipped_byte_is_noticed() -> None:
    content = program_bytes(_program())
    for position in range(len(content)):
        broken = bytearray(content)
        broken[position] ^= 0x20
        with pytest.raises(ProgramError, match=r"^program file must"):
            parse_program(bytes(broken))


def test_every_truncation_is_noticed() -> None:
    content = program_bytes(_program())
    for length in range(len(content)):
        with pytest.raises(ProgramError, match=r"^program file must"):
            parse_program(content[:length])


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"^program file must be readable"):
        load_program(tmp_path / "none")
