"""The program file.

Layout of the file (little-endian)::

    8 bytes   magic "LQFPGA1\\n"
    u32       length of the header in bytes
    header    JSON, keys sorted: "format" and all fields of :class:`Program`, but of the stages
              only their entries, without the memory image, and "prefixes" and "exits" only if
              there are any
    images    the memory image of each stage in order, then that of the program; each one is
              u32 number of words, then the words
    u32       CRC-32 of everything before

The same model and configuration give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .program import (
    BlockInfo,
    ExitPart,
    LayerInfo,
    Prefix,
    Program,
    ProgramError,
    Stage,
    TensorInfo,
)

__all__ = ["load_program", "parse_program", "program_bytes", "save_program"]

MAGIC = b"LQFPGA1\n"
FORMAT_VERSION = 5


def program_bytes(program: Program) -> bytes:
    """The file's content."""
    header = {
        field.name: getattr(program, field.name)
        for field in dataclasses.fields(program)
        if field.name != "memory"
    }
    header["stages"] = [stage.entry for stage in program.stages]
    header["layers"] = [dataclasses.asdict(layer) for layer in program.layers]
    header["tensors"] = [dataclasses.asdict(tensor) for tensor in program.tensors]
    for name in ("prefixes", "exits"):
        header[name] = [dataclasses.asdict(way) for way in header[name]]
        if not header[name]:
            del header[name]
    header["format"] = FORMAT_VERSION
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text
    for memory in (*(stage.memory for stage in program.stages), program.memory):
        body += struct.pack("<I", len(memory)) + memory.astype("<u4").tobytes()
    return body + struct.pack("<I", zlib.crc32(body))


def parse_program(content: bytes) -> Program:
    """The program of a file's content; raises :class:`ProgramError` if it is not whole."""
    if not content.startswith(MAGIC):
        raise ProgramError("program file must start with the magic LQFPGA1")
    if len(content) < len(MAGIC) + 12:
        raise ProgramError(f"program file must be complete, not {len(content)} bytes")
    if zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
        raise ProgramError("program file must match its checksum: it is corrupted or truncated")
    try:
        (length,) = struct.unpack_from("<I", content, len(MAGIC))
        start = len(MAGIC) + 4
        header: dict[str, Any] = json.loads(content[start : start + length])
        version = header.pop("format")
        if version != FORMAT_VERSION:
            raise ProgramError(f"program format must be {FORMAT_VERSION}, not {version}")
        entries: list[int] = header.pop("stages")
        *staged, memory = _images(content, start + length, len(entries) + 1)
        for key in ("image_shape", "labels"):
            header[key] = tuple(header[key])
        header |= _infos(header)
        header["prefixes"] = tuple(
            Prefix(**(prefix | _infos(prefix))) for prefix in header.pop("prefixes", [])
        )
        header["exits"] = tuple(
            ExitPart(**(part | _infos(part) | {"bounds": tuple(map(tuple, part["bounds"]))}))
            for part in header.pop("exits", [])
        )
        header["stages"] = tuple(
            Stage(entry=entry, memory=words) for entry, words in zip(entries, staged, strict=True)
        )
        return Program(memory=memory, **header)
    except (KeyError, TypeError, IndexError, struct.error, json.JSONDecodeError) as error:
        raise ProgramError(f"program header must be complete: {error}") from error


def save_program(program: Program, path: Path) -> None:
    """Write to a temporary name, then rename: never a half-written file."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(program_bytes(program))
    os.replace(temporary, path)


def load_program(path: Path) -> Program:
    """Read a file; raises :class:`ProgramError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"program file must be readable: {error}") from error
    return parse_program(content)


def _infos(header: dict[str, Any]) -> dict[str, Any]:
    """The layers and tensors of a header or of a prefix in it."""

    def fields(item: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(v) if isinstance(v, list) else v for key, v in item.items()}

    return {
        "layers": tuple(LayerInfo(**fields(item)) for item in header["layers"]),
        "tensors": tuple(_tensor_info(item) for item in header["tensors"]),
    }


def _images(content: bytes, position: int, count: int) -> list[np.ndarray]:
    """The memory images from byte ``position`` of a program file on."""
    images = []
    for _ in range(count):
        (words,) = struct.unpack_from("<I", content, position)
        images.append(np.frombuffer(content, "<u4", words, position + 4).astype(np.uint32))
        position += 4 + 4 * words
    return images


def _tensor_info(item: dict[str, Any]) -> TensorInfo:
    blocks = tuple(BlockInfo(**block) for block in item.pop("blocks"))
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in item.items()}
    return TensorInfo(**lists, blocks=blocks)
