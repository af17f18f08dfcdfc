"""Loads of the tables that do not stay on chip, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hw import isa

from .image import MemoryImage
from .loads import Load
from .tokens import InstructionList, TokenCounter
from .units import Plan, Table, Unit

__all__ = ["TableLoads"]


class TableLoads:
    """Loads the streamed tables of each unit where those of the load before the last one were.

    Args:
        plan: The network.
        placed: On-chip base of every table of every unit.
        image: Gets the words of the tables.
        program: Where instructions are appended.
        loads_of: What loads a unit's table.
        loaded_post: Loads that are done, for POST.
        released: Finished POSTs, for DMA.
        consumed: COMPUTEs that have used the weights of a part, for DMA.
    """

    def __init__(
        self,
        plan: Plan,
        placed: Sequence[dict[Table, int]],
        image: MemoryImage,
        program: InstructionList,
        *,
        loads_of: Callable[[Table, Unit, dict[Table, int]], list[Load]],
        loaded_post: TokenCounter,
        released: TokenCounter,
        consumed: TokenCounter,
    ) -> None:
        self._plan = plan
        self._placed = placed
        self._image = image
        self._program = program
        self._loads_of = loads_of
        self.loaded_compute = TokenCounter(isa.Semaphore.LOADED, isa.Engine.COMPUTE)
        self._loaded_post = loaded_post
        self._released = released
        self._consumed = consumed
        self._units = 0
        """Units whose tables are loaded."""
        self._outside: dict[tuple[object, ...], int] = {}
        """Where the words of each load lie: tiles of a layer may load the same weights again."""
        self._loads = dict.fromkeys(Table, 0)
        """Loads of each streamed table so far."""
        self._free: dict[Table, list[tuple[TokenCounter, int]]] = {table: [] for table in Table}
        """The tokens that say that the place of each of these loads is free again."""

    def load(self, index: int) -> None:
        """Load the tables of unit ``index``, if there is one and they are not loaded."""
        if index != self._units:
            return
        self._units += 1
        plan = self._plan
        if index == len(plan.units) or not plan.streams(plan.units[index]):
            return
        unit, bases = plan.units[index], self._placed[index]
        tag = unit.plan.tag
        loads = {
            table: found
            for table in Table
            if not plan.is_resident(unit, table) and (found := self._loads_of(table, unit, bases))
        }
        wait = 0
        for table in loads:
            number = self._loads[table] - 2
            self._loads[table] += 1
            if number >= 0:
                counter, count = self._free[table][number]
                wait |= counter.require(count, self._program, tag)
        instruction: dict[str, int] = {}
        for table, found in loads.items():
            for number, load in enumerate(found):
                key = (tag, table, unit.first, unit.part, number)
                if key not in self._outside:
                    self._outside[key] = self._image.append(f"streamed {table.value}", load.words)
                fields = load.fields(self._outside[key])
                instruction = self._program.append(isa.Opcode.DMA, tag, fields)
                instruction["wait"], wait = wait, 0
        if not loads:
            return
        if unit.plan.tables is not None:
            self.loaded_compute.signal(instruction)
        if not unit.part and not unit.tile:
            self._loaded_post.signal(instruction)

    def finish(self, unit: Unit, release: Callable[[], int] | None) -> None:
        """Remember when the tables of a unit may be overwritten: when it is done.

        The weights of a part of a window when the array has taken them, all else when the results
        of its channel tiles have passed the post engine: ``release`` makes the last POST signal
        that, and returns the count of such tokens; None: there is no POST yet.
        """
        freed = [t for t in Table if unit.frees(t) and not self._plan.is_resident(unit, t)]
        if unit.part is not None and Table.WEIGHTS in freed:
            freed.remove(Table.WEIGHTS)
            self._free[Table.WEIGHTS].append((self._consumed, self._consumed.signalled))
        if freed and release is not None:
            released = release()
            for table in freed:
                self._free[table].append((self._released, released))
