"""Tests of compiler.program: the file format and its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.program import LayerInfo, Program, ProgramError, TensorInfo


def _program() -> Program:
    return Program(
        network="net",
        preset="tiny",
        fingerprint=7,
        prologue_entry=-1,
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
    program.save(tmp_path / "p")
    loaded = Program.load(tmp_path / "p")
    assert loaded.to_bytes() == program.to_bytes()
    assert loaded.layers == program.layers
    assert loaded.tensors == program.tensors
    assert (loaded.memory == program.memory).all()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_every_flipped_byte_is_noticed() -> None:
    content = _program().to_bytes()
    for position in range(len(content)):
        broken = bytearray(content)
        broken[position] ^= 0x20
        with pytest.raises(ProgramError, match=r"^program file must"):
            Program.from_bytes(bytes(broken))


def test_every_truncation_is_noticed() -> None:
    content = _program().to_bytes()
    for length in range(len(content)):
        with pytest.raises(ProgramError, match=r"^program file must"):
            Program.from_bytes(content[:length])


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"^program file must be readable"):
        Program.load(tmp_path / "none")
