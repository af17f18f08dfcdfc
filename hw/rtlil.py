"""Changes to Amaranth's RTLIL, and to the Verilog made of it, that speed up the tools.

Amaranth writes a module per instance: hundreds of equal processing elements. With one module for
all of them, synthesis maps the element once, and Verilator translates a large array three times as
fast, into less than half the C++, which compiles in less than half the time and runs as fast.

Verilog states the contents of a memory word by word, a line for each. Memories start as zeros, so
a loop can say it: a million words of external memory took minutes to generate and to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = [
    "clear_memories",
    "convert",
    "drop_zero_contents",
    "ignore_collisions",
    "keep_hierarchy",
    "merge_equal_modules",
    "remove_brackets",
]

_MODULE_END = re.compile(r"(?<=^end\n)", re.MULTILINE)
_MODULE = re.compile(r"^module (\S+)$", re.MULTILINE)
_HEADER = re.compile(r"\A(?P<head>(?:#.*\n|attribute .*\n|\n)*)module (?P<name>\S+)\n")
_PORT = re.compile(r"^(  wire (?:width \d+ )?(?:input|output|inout)) \d+ ", re.MULTILINE)
_INSTANCE = re.compile(r"^  cell (\\\S+)(?= \S+$)", re.MULTILINE)
_ZERO_CONTENTS = re.compile(
    r"^  cell \$meminit_v2 \S+\n(?:    (?!connect \\DATA).*\n)*"
    r"    connect \\DATA \d+'0+\n(?:    .*\n)*  end\n",
    re.MULTILINE,
)
_MEMORY = re.compile(
    r"^  reg (?:\[\d+:0\] )?(?P<name>\S+) \[(?P<last>\d+):0\];\n(?!  initial begin)", re.MULTILINE
)
_MEMORY_READ = re.compile(
    r"^  cell \$memrd_v2 .*\n    parameter \\MEMID \"\\\\(?P<memory>.*)\"\n(?:    parameter .*\n)*",
    re.MULTILINE,
)
_BRACKETED = re.compile(r"\\\S*\[\S*")


def convert(component: wiring.Component, name: str) -> str:
    """RTLIL of a component, with equal modules merged; its top module is ``name``."""
    return merge_equal_modules(rtlil.convert(component, name=name, emit_src=False))


def merge_equal_modules(text: str) -> str:
    """The same design with one module for all equal ones; instances keep their names.

    Modules are equal if they have the same statements, in whatever order; the numbers of ports
    differ (connections are by name). This repeats until nothing changes: parents become equal when
    their children have.

    Raises:
        ValueError: The text is not a list of modules.
    """
    modules = dict(_split(part) for part in _MODULE_END.split(text) if part.strip())
    while True:
        first: dict[str, str] = {}
        same = {name: first.setdefault(_key(body), name) for name, (_, body) in modules.items()}
        same = {name: other for name, other in same.items() if name != other}
        if not same:
            return "".join(f"{head}module {name}\n{body}" for name, (head, body) in modules.items())
        modules = {
            name: (head, _instantiate(body, same))
            for name, (head, body) in modules.items()
            if name not in same
        }


def keep_hierarchy(text: str, parts: Callable[[str], bool], instances: int) -> str:
    """Mark modules that synthesis must not dissolve in their parents.

    Args:
        text: RTLIL.
        parts: Whether the module with this name is to be kept.
        instances: Modules with at least as many instances are kept as well.
    """
    counts = Counter(_INSTANCE.findall(text))
    return _MODULE.sub(
        lambda found: (
            f"attribute \\keep_hierarchy 1\n{found[0]}"
            if counts[found[1]] >= instances or parts(found[1].removeprefix("\\"))
            else found[0]
        ),
        text,
    )


def ignore_collisions(text: str, memory: re.Pattern[str]) -> str:
    """Let reads of some memories return anything for an address that is written in the same cycle.

    Amaranth says that such a read returns the old contents. A block RAM with one port for each does
    not do that by itself: synthesis adds registers and a multiplexer for every bit.

    Args:
        text: RTLIL.
        memory: Full names of the memories whose users never look at such a read.
    """
    return _MEMORY_READ.sub(
        lambda found: (
            re.sub(r"(COLLISION_X_MASK \d+)'0+$", _all_ones, found[0], flags=re.MULTILINE)
            if memory.fullmatch(found["memory"])
            else found[0]
        ),
        text,
    )


def _all_ones(found: re.Match[str]) -> str:
    ports = int(found[1].split()[1])
    return f"{found[1]}'{'1' * ports}"


def remove_brackets(text: str) -> str:
    """The same design with ``values.0`` for names like ``values[0]``.

    ABC9 numbers the bits of a wire like that: an array's wire beside the wire of its first element
    would give a name twice, which ends yosys.

    Raises:
        ValueError: Two names of one module would become equal.
    """
    for part in _MODULE_END.split(text):
        names = set(re.findall(r"^  wire .*?(\S+)$", part, re.MULTILINE))
        if len({_plain(name) for name in names}) != len(names):
            raise ValueError("names must differ in more than brackets: " + ", ".join(sorted(names)))
    return _BRACKETED.sub(lambda found: _plain(found[0]), text)


def drop_zero_contents(text: str) -> str:
    """The same design with memories undefined at the start where they were all zeros."""
    return _ZERO_CONTENTS.sub("", text)


def clear_memories(verilog: str) -> str:
    """Verilog in which a loop clears each memory that has no contents at the start."""
    count = 0

    def clear(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return (
            f"{found[0]}  initial begin : clear_memory_{count}\n"
            f"    integer i;\n"
            f"    for (i = 0; i <= {found['last']}; i = i + 1) {found['name']}[i] = 0;\n"
            f"  end\n"
        )

    return _MEMORY.sub(clear, verilog)


def _plain(name: str) -> str:
    return name.replace("[", ".").replace("]", "")


def _split(module: str) -> tuple[str, tuple[str, str]]:
    """Name, and what stands before the module's first line and after it."""
    header = _HEADER.match(module)
    if header is None:
        raise ValueError(f"module must start with its name, not {module[:40]!r}")
    return header["name"], (header["head"], module[header.end() :])


def _key(body: str) -> str:
    """A text that is the same for equal modules: only the lines of a process have an order."""
    statements = _PORT.sub(r"\1 ", body).split("\n\n")
    return "\n".join(
        sorted(
            text if "  process " in text else "\n".join(sorted(text.splitlines()))
            for text in statements
        )
    )


def _instantiate(body: str, same: Mapping[str, str]) -> str:
    """The module's text with other modules for its instances."""
    return _INSTANCE.sub(lambda found: f"  cell {same.get(found[1], found[1])}", body)
