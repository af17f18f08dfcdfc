"""The DMA engine (``hw/memory/dma.py``, ``unpacker.py``, ``store.py``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

from hw.config import AcceleratorConfig
from hw.isa import DmaTarget
from hw.memory.dma import BURST_WORDS
from hw.memory.packing import WORD, EntryFormat, entry_formats

from .agenda import Agenda
from .control import Gate
from .instructions import Instruction
from .memory_port import MemoryPort, ReadBurst
from .ports import ReadPort, WritePort
from .store import ActivationStoreModel

__all__ = ["DmaModel"]

EMPTY_CYCLES = 2
"""From an accepted command without entries to ``done``."""
REQUEST_CYCLES = 3
"""From an accepted command to its first request."""
NEXT_REQUEST_CYCLES = 2
"""From a granted request to the next one."""
READ_CYCLES = 2
"""From an accepted store of activations to the first word that is read."""
VECTOR_CYCLES = 3
"""From an accepted store of streams to its first word."""

_TARGETS = {target.value: target for target in DmaTarget}


def external_runs(command: Instruction) -> list[int]:
    """First external word of every run of a command."""
    return [
        command["external"] + row * command["row_stride"] + run * command["run_stride"]
        for row in range(command["rows"] + 1)
        for run in range(command["runs"] + 1)
    ]


class DmaModel:
    """Loads and stores, burst by burst.

    A load into the activation or the stream memory waits for the post engine's writes, a store of
    activations for the FILL engine's reads; both are looked up as far ahead as they are known.

    Parameters
    ----------
    tables
        Called with a load's target, first entry, external word and count when it begins.
    writes
        The post engine's use of the write ports of these memories.
    reads
        The FILL engine's use of its read port.
    """

    def __init__(
        self,
        agenda: Agenda,
        config: AcceleratorConfig,
        port: MemoryPort,
        gate: Gate,
        *,
        tables: Callable[[DmaTarget, int, int, int], None],
        writes: Mapping[DmaTarget, WritePort],
        reads: ReadPort,
    ) -> None:
        self._agenda = agenda
        self._port = port
        self._gate = gate
        self._tables = tables
        self._writes = writes
        self._formats = entry_formats(config)
        self._activations = ActivationStoreModel(
            agenda,
            port,
            reads,
            items=max(1, WORD // config.array.word_width),
            parts=max(1, config.array.word_width // WORD),
            finished=self._finish,
        )
        port.dma = self._granted
        self.busy_cycles = 0
        self.idle_from = 0
        self._command: Instruction | None = None
        self._runs: Iterator[int] = iter(())
        """First external words of the runs that have not begun."""
        self._offered: Instruction | None = None
        self._accepted = 0
        self._form: EntryFormat
        self._unpacking: Iterator[int] = iter(())
        """Cycles for which the unpacker is busy with each of the words to come."""
        self._shared: WritePort | None = None
        """The port through which the entries are written, if it is not the DMA engine's alone."""
        self._is_stream = False
        self._words_left = 0
        """Words that no granted burst covers."""
        self._entries_left = 0
        self._ready = 0
        """First cycle in which the unpacker can take a word, or give an entry that it holds."""
        self._held = 0
        """Entries in the unpacker."""
        self._moves_from = 0
        self._external = 0
        """External word of the next burst."""
        self._burst: ReadBurst
        """The granted burst of a load."""
        self._burst_left = 0
        """Words of the granted burst that have not moved."""
        self._part = 0
        self._sending = False

    def offer(self, instruction: Instruction) -> None:
        self._offered = instruction
        if self._command is None:
            self._agenda.at(max(self._agenda.now, self.idle_from), self._accept)

    def _accept(self) -> None:
        command = self._command = self._offered
        assert command is not None
        self._offered = None
        now = self._accepted = self._agenda.now
        self._gate.accepted()
        count = command["count"]
        self._runs = iter(())
        if not count:
            self._finish(now + EMPTY_CYCLES - 1)
            return
        target = _TARGETS[command["target"]]
        self._form = self._formats[target]
        self._shared = self._writes.get(target)
        self._is_stream = target is DmaTarget.STREAMS
        self._runs = iter(external_runs(command)[1:])
        self._start_run(now, command["external"])
        if not command["store"]:
            self._tables(target, command["address"], command["external"], count)

    def _start_run(self, now: int, external: int) -> None:
        """A run, as if the command had been accepted in cycle ``now``."""
        command = self._command
        assert command is not None
        self._words_left = self._form.words_of(command["count"])
        self._entries_left = command["count"]
        self._external = external
        self._unpacking = itertools.cycle(max(1, count) for count in self._form.completed)
        self._ready = self._part = self._held = 0
        self._agenda.at(now + REQUEST_CYCLES, self._port.ask_dma)
        if command["store"]:
            self._moves_from = 0
            if self._is_stream:
                self._agenda.at(now + VECTOR_CYCLES, self._send_vectors)
            else:
                self._activations.begin(now + READ_CYCLES, command["count"])

    def _finish(self, last: int) -> None:
        """The last entry or word of a run moves in cycle ``last``."""
        external = next(self._runs, None)
        if external is not None:
            self._agenda.at(last + 1, lambda: self._start_run(last, external))
            return
        self.busy_cycles += last + 1 - self._accepted
        self._agenda.at(last + 1, self._done)

    def _done(self) -> None:
        self._command = None
        self.idle_from = self._agenda.now + 1
        self._gate.done()
        if self._offered is not None:
            self._agenda.at(self.idle_from, self._accept)

    def _granted(self) -> None:
        assert self._command is not None
        now = self._agenda.now
        self._burst_left = min(BURST_WORDS, self._words_left)
        self._words_left -= self._burst_left
        if self._words_left:
            self._agenda.at(now + NEXT_REQUEST_CYCLES, self._port.ask_dma)
        address = self._external
        self._external += self._burst_left
        if self._command["store"]:
            self._moves_from = self._port.write(address, self._burst_left)
            if not self._is_stream:
                self._activations.granted(self._moves_from, self._burst_left)
                self._burst_left = 0
            elif self._sending:
                self._agenda.at(self._moves_from, self._send)
            return
        self._burst = self._port.read(address, self._burst_left)
        if self._shared is not None:
            self._load_shared(self._shared)
        else:
            self._load_table()

    def _load_table(self) -> None:
        """Nothing but the memory stalls: one word or one entry per cycle."""
        ready = last = self._ready
        for busy in itertools.islice(self._unpacking, self._burst_left):
            last = self._burst.take(ready)
            ready = last + busy
        self._ready = ready
        self._port.end_burst(last)
        self._burst_left = 0
        if not self._words_left:
            form, count = self._form, self._entries_left
            before = (form.words_of(count) - 1) * form.entries // form.words
            self._finish(last + count - before)

    def _load_shared(self, port: WritePort) -> None:
        """As far as the post engine's writes are known; then again when the next entry is due."""
        next_free, form = port.next_free, self._form
        known = self._agenda.now + port.lookahead
        ready, held = self._ready, self._held
        while True:
            while held:
                cycle = next_free(ready)
                if cycle >= known:
                    self._ready, self._held = ready, held
                    self._agenda.at(cycle, lambda: self._load_shared(port))
                    return
                held -= 1
                ready = cycle + 1 if held else cycle
                self._entries_left -= 1
                if not self._entries_left:
                    self._finish(cycle)
                    return
            if not self._burst_left:
                break
            # A word moves into the unpacker; the last one of an entry fills it.
            cycle = self._burst.take(ready)
            ready = cycle + 1
            self._burst_left -= 1
            if not self._burst_left:
                self._port.end_burst(cycle)
            self._part += 1
            if self._part == form.words:
                self._part = 0
                held = min(form.entries, self._entries_left)
        self._ready, self._held = ready, held

    def _send_vectors(self) -> None:
        """The first word of the spilled vectors is there."""
        self._sending = True
        self._part = 0
        self._moves_from = max(self._agenda.now, self._moves_from)
        self._agenda.at(self._moves_from, self._send)

    def _send(self) -> None:
        """A word of spilled vectors, if a burst is open."""
        now = self._agenda.now
        if not self._sending or not self._burst_left or now < self._moves_from:
            return
        moved = self._port.write_word()
        self._burst_left -= 1
        self._part += 1
        if not self._burst_left:
            self._port.end_burst(moved)
        if self._part == self._form.words:
            self._part = 0
            self._entries_left -= 1
        if self._entries_left:
            self._moves_from = moved + 1
            if self._burst_left:
                self._agenda.at(moved + 1, self._send)
            return
        self._sending = False
        self._finish(moved)
