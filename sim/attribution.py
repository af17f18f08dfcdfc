"""Why a program's cycles pass: every cycle of every layer has exactly one cause.

What counts is the array: a cycle in which a word enters it is the array's own. A word in hand waits
for the drain or for the post engine, and the sequencer says for which. In all other cycles COMPUTE
has no command, and the cause is followed to its source: if its instruction waits for a semaphore,
the cycle belongs to what the engine that signals it does at that time, and so on if that engine
waits, too. See ``docs/profile.md``.

The causes are found from the times of events in the cycle model; the work grows with the number of
instructions and of strips, not with that of cycles.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from hw.config import AcceleratorConfig
from hw.isa import Engine, Opcode, Semaphore

from .cycles.compute import Strip
from .cycles.control import Wait
from .cycles.model import BUSY_BEFORE, Run

__all__ = ["MEANINGS", "Attribution", "Cause", "attribute"]

Key = TypeVar("Key")


class Cause(StrEnum):
    """What a cycle is spent on, or waits for."""

    ARRAY = "array"
    DRAIN = "drain"
    POST = "post"
    OUTPUTS = "outputs"
    FILL = "fill"
    MEMORY = "memory"
    FETCH = "fetch"
    CONTROL = "control"


MEANINGS = {
    Cause.ARRAY: "a word enters the array",
    Cause.DRAIN: "a word waits: the pass before is still drained",
    Cause.POST: "a word waits: the post engine has not taken the vectors before",
    Cause.OUTPUTS: "what is to be read next is not written by the post engine yet",
    Cause.FILL: "the column buffers are being filled",
    Cause.MEMORY: "the DMA engine loads or stores over the external memory port",
    Cause.FETCH: "the next instruction is not in its queue yet",
    Cause.CONTROL: "commands are handed over: signals, grants, look-up of passes, reset",
}
"""The causes in the order of tables and pictures."""

WORK_OF = {
    Engine.DMA.value: Cause.MEMORY,
    Engine.FILL.value: Cause.FILL,
    Engine.COMPUTE.value: Cause.CONTROL,
    Engine.POST.value: Cause.OUTPUTS,
}
"""What a cycle is spent on in which an engine is waited for, by the engine's number. A COMPUTE that
is waited for has issued all its words: only the latency of the array is left."""

NO_STRIP = -(1 << 40)
"""Last cycle of the strip before the first one."""


@dataclass(frozen=True)
class Attribution:
    """Cycles by cause, one entry per layer."""

    causes: list[Counter[Cause]]
    """They add up to the layer's cycles."""
    semaphores: list[Counter[Semaphore]]
    """Of these, the cycles in which COMPUTE waited for a semaphore, whatever the cause."""


def attribute(run: Run, config: AcceleratorConfig, tags: Iterable[int]) -> Attribution:
    """Give every cycle of a run to a layer and a cause.

    Args:
        run: What the cycle model says.
        config: Sizes that the run is of.
        tags: Tags of the layers in their order; the layers' cycles are those of
            :meth:`Run.layer_cycles`.
    """
    ends = list(accumulate(run.layer_cycles(tags), initial=-BUSY_BEFORE))[1:]
    causes, semaphores = _Ledger[Cause](ends), _Ledger[Semaphore](ends)
    engines = {
        engine.value: _timeline(waits, run.cycles - BUSY_BEFORE)
        for engine, waits in run.waits.items()
    }
    commands = iter(run.commands)
    cursor = -BUSY_BEFORE
    ended = NO_STRIP
    for wait in run.waits[Engine.COMPUTE]:
        instruction = wait.instruction
        command = None if instruction.opcode is Opcode.SYNC else next(commands)
        strips = [] if command is None else command.strips
        begin = strips[0].early if strips else instruction.done + 1
        for step in _before(wait, cursor, begin):
            if isinstance(step.what, Wait):
                assert step.what.reason is not None
                semaphores.add(step.first, step.end, Semaphore(step.what.reason))
            for first, end, cause in _blame(engines, step):
                causes.add(first, end, cause)
        cursor = max(cursor, begin)
        for strip in strips:
            assert command is not None
            _add_strip(causes, command.lengths, strip, ended, config.array.drain_period)
            ended = strip.end
            cursor = ended + 1
    last, engine, _ = run.retired[-1]
    for first, end, cause in _overlaps(engines, engine.value, cursor, last + 1):
        causes.add(first, end, cause)
    causes.add(max(cursor, last + 1), ends[-1], Cause.CONTROL)
    return Attribution(causes.counts, semaphores.counts)


class _Ledger(Generic[Key]):
    """Counts cycles by layer and key. Intervals come in order and do not overlap.

    Parameters
    ----------
    ends
        First cycle after each layer.
    """

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends
        self._layer = 0
        self.counts: list[Counter[Key]] = [Counter() for _ in ends]

    def is_whole(self, first: int, end: int) -> bool:
        """All cycles from ``first`` to before ``end`` are of one layer."""
        while first >= self._ends[self._layer]:
            self._layer += 1
        return end <= self._ends[self._layer]

    def add(self, first: int, end: int, key: Key) -> None:
        """Cycles from ``first`` to before ``end``."""
        while first < end:
            until = end if self.is_whole(first, end) else self._ends[self._layer]
            self.add_cycles(until - first, key)
            first = until

    def add_cycles(self, cycles: int, key: Key) -> None:
        """Some cycles of the layer that was last asked for."""
        if cycles:
            self.counts[self._layer][key] += cycles


class _Step(NamedTuple):
    """What an engine does from cycle ``first`` to before ``end``: the cause, or the wait for a
    signal of another engine."""

    first: int
    end: int
    what: Cause | Wait


def _before(wait: Wait, cursor: int, end: int) -> Iterator[_Step]:
    """From ``cursor`` to before ``end``: how an instruction came to be started."""
    signaller = wait.signaller
    signalled = wait.first if signaller is None else signaller.done + 1
    for until, what in (
        (0, Cause.CONTROL),
        (wait.instruction.available, Cause.FETCH),
        (wait.first, Cause.CONTROL),
        (signalled, wait),
        (end, Cause.CONTROL),
    ):
        until = min(until, end)
        if until > cursor:
            yield _Step(cursor, until, what)
            cursor = until


def _timeline(waits: list[Wait], end: int) -> list[_Step]:
    """What an engine does in the cycles of a run, as one that waits for it sees it: an instruction
    that is being executed hides how the next one comes to be started."""
    steps: list[_Step] = []
    cursor = -BUSY_BEFORE
    for wait in waits:
        instruction = wait.instruction
        assert instruction.engine is not None
        steps += _before(wait, cursor, wait.last)
        cursor = max(cursor, wait.last)
        if instruction.done >= cursor:
            steps.append(_Step(cursor, instruction.done + 1, WORK_OF[instruction.engine]))
            cursor = instruction.done + 1
    if cursor < end:
        steps.append(_Step(cursor, end, Cause.CONTROL))
    return steps


def _blame(engines: dict[int, list[_Step]], step: _Step) -> Iterator[tuple[int, int, Cause]]:
    """The causes of a step: those of the engine that is waited for, in the same cycles.

    This ends: engines that all wait for another in the same cycle would do so for ever.
    """
    if isinstance(step.what, Cause):
        yield step.first, step.end, step.what
    else:
        signaller = step.what.signaller
        assert signaller is not None
        assert signaller.engine is not None
        yield from _overlaps(engines, signaller.engine, step.first, step.end)


def _overlaps(
    engines: dict[int, list[_Step]], engine: int, first: int, end: int
) -> Iterator[tuple[int, int, Cause]]:
    """Causes of what an engine does from ``first`` to before ``end``."""
    steps = engines[engine]
    index = bisect_right(steps, first, key=lambda step: step.end)
    while first < end:
        step = steps[index]
        until = min(end, step.end)
        yield from _blame(engines, _Step(first, until, step.what))
        first, index = until, index + 1


def _add_strip(
    causes: _Ledger[Cause], lengths: list[int], strip: Strip, ended: int, period: int
) -> None:
    """The cycles of a strip with passes of such lengths; ``ended`` is the last cycle of the strip
    before."""
    early, first, apart, last = strip
    end = last + 1
    if causes.is_whole(early, end):
        words, post = sum(lengths), last - apart
        causes.add_cycles(words, Cause.ARRAY)
        causes.add_cycles(post, Cause.POST)
        causes.add_cycles(end - early - words - post, Cause.DRAIN)
        return
    causes.add(early, first, Cause.DRAIN)
    cursor = first
    for length in lengths[:-1]:
        ended = max(cursor + length - 1, ended + period)
        _add_pass(causes, cursor, length, ended)
        cursor = ended + 1
    _add_pass(causes, cursor, lengths[-1], apart, last)


def _add_pass(
    causes: _Ledger[Cause], first: int, words: int, apart: int, last: int | None = None
) -> None:
    """The cycles of a pass from its first word on. Its last word waits for the drain up to
    ``apart``, and if it is that of a strip for the post engine up to ``last``."""
    last = apart if last is None else last
    causes.add(first, first + words - 1, Cause.ARRAY)
    causes.add(first + words - 1, apart, Cause.DRAIN)
    causes.add(apart, last, Cause.POST)
    causes.add(last, last + 1, Cause.ARRAY)
