"""Functional simulator: executes a program's instructions on the architecture's memories.

It knows the instruction set and the data formats but no cycles: each instruction is carried out
at once, as soon as its semaphores allow. So it finds wrong programs (addresses, tables, missing
tokens: a deadlock is an error that names the waiting instructions) in a fraction of the time that
the RTL takes, and it is the reference for what a program means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from compiler.compile import image_words
from compiler.program import Program, TensorInfo
from hw import isa
from hw.config import AcceleratorConfig

from .functional_array import ComputeEngine, FillEngine
from .functional_dma import DmaEngine
from .functional_memories import Fields, FunctionalError, Memories, signed
from .functional_post import LayerTrace, PostEngine
from .reconstruction import block_places

__all__ = ["FunctionalSimulator"]

Queues = dict[isa.Engine, deque[tuple[isa.Opcode, Fields]]]
ENGINE_OF = {
    isa.Opcode.DMA: isa.Engine.DMA,
    isa.Opcode.FILL: isa.Engine.FILL,
    isa.Opcode.COMPUTE: isa.Engine.COMPUTE,
    isa.Opcode.POST_CONFIG: isa.Engine.POST,
    isa.Opcode.POST: isa.Engine.POST,
}


class FunctionalSimulator:
    """One accelerator with its memories; ``run`` classifies one image.

    Args:
        program: The program.
        config: Sizes.
        order: The engines, in the order in which they are asked for the next instruction that can
            be carried out; called before each one. A right program gives the same results whatever
            the order: what must come first has a semaphore.

    ``memories`` holds what is in the memories. Raises :class:`FunctionalError` if the program is
    made for other sizes, or its stages do what no program may do.
    """

    def __init__(
        self,
        program: Program,
        config: AcceleratorConfig,
        *,
        order: Callable[[], Iterable[isa.Engine]] = lambda: isa.Engine,
    ) -> None:
        self._order = order
        if program.fingerprint != config.fingerprint:
            raise FunctionalError(
                f"program must be made for preset {config.name}, not {program.preset}"
            )
        self.program = program
        self.memories = Memories(config)
        self.dma = DmaEngine(self.memories)
        self._fill = FillEngine(self.memories)
        self._compute = ComputeEngine(self.memories)
        self._post = PostEngine(self.memories, self._compute.vectors)
        external = self.memories.external
        for stage in program.stages:
            external[: len(stage.memory)] = stage.memory
            self._execute(stage.entry)
        external[: len(program.memory)] = program.memory

    @property
    def traces(self) -> dict[int, LayerTrace]:
        """What each layer of the last run wrote, by its tag."""
        return self._post.traces

    def run(self, image: np.ndarray) -> np.ndarray:
        """Logits (int64) of a uint8 image [H, W, C]; ``traces`` holds what each layer wrote.

        A batch is one image below the other, and so are its logits [images, classes].
        """
        external, words = self.memories.external, image_words(image)
        external[self.program.image_address :][: len(words)] = words
        self._post.traces = {}
        self._execute(self.program.image_entry)
        start, count = self.program.result_address, self.program.result_words
        logits = self.program.logits(signed(external[start : start + count], 32))
        return logits if self.program.images > 1 else logits[0]

    def tensor(self, info: TensorInfo) -> np.ndarray:
        """What the last run wrote to a tensor: int64 [height, width, channels].

        Plane tensors hold their code as an unsigned number, bit j = plane j. Raises
        :class:`FunctionalError` if an element was never written.
        """
        trace = self.traces[info.layer]
        parts = trace.streams if info.kind == "stream" else trace.granules
        address = np.concatenate([addresses for addresses, _ in parts])
        written = np.concatenate([rows for _, rows in parts])
        if info.blocks:
            address, order = block_places(info, address)
            written = written[order]
        lanes = {int(a): row for a, row in zip(address, written, strict=True)}
        y, x = np.mgrid[: info.height, : info.width]
        pixels = info.base + y * info.row_stride + x * info.pixel_stride
        values = np.zeros((info.height, info.width, info.channels), np.int64)
        for position, channel in enumerate(info.order):
            if channel < 0:
                continue
            block, lane = divmod(position, self.memories.rows)
            for (row, column), pixel in np.ndenumerate(pixels):
                values[row, column, channel] = self._element(info, lanes, pixel, block, lane)
        return values

    def _element(
        self, info: TensorInfo, lanes: dict[int, np.ndarray], pixel: int, block: int, lane: int
    ) -> int:
        address = int(pixel) + block * info.slots
        try:
            if info.kind == "stream":
                return int(lanes[address][lane])
            if info.kind == "planes":
                return sum(int(lanes[address + j][lane]) << j for j in range(info.planes))
            rows, item = self.memories.rows, max(32, self.memories.word_width)
            granules = range(lane * item // rows, (lane * item + 32) // rows)
            bits = np.concatenate([lanes[address + g] for g in granules])
            return int(signed(np.packbits(bits, bitorder="little").view("<u4"), 32)[0])
        except KeyError:
            raise FunctionalError(f"tensor {info.name} must be written completely") from None

    def _fetch(self, entry: int) -> Queues:
        queues: Queues = {engine: deque() for engine in isa.Engine}
        while True:
            words = self.memories.external[entry : entry + isa.INSTRUCTION_WORDS]
            opcode, fields = isa.decode(sum(int(w) << 32 * i for i, w in enumerate(words)))
            if opcode is isa.Opcode.END:
                return queues
            if opcode is isa.Opcode.SYNC:
                engine = isa.Engine(fields["engine"])
            else:
                engine = ENGINE_OF[opcode]
            queues[engine].append((opcode, fields))
            entry += isa.INSTRUCTION_WORDS

    def _execute(self, entry: int) -> None:
        queues = self._fetch(entry)
        counts = np.zeros(isa.SEMAPHORES, int)
        actions = {
            isa.Opcode.DMA: self.dma.execute,
            isa.Opcode.FILL: self._fill.execute,
            isa.Opcode.COMPUTE: self._compute.execute,
            isa.Opcode.POST_CONFIG: self._post.configure,
            isa.Opcode.POST: self._post.execute,
        }
        while (engine := self._ready(queues, counts)) is not None:
            opcode, fields = queues[engine].popleft()
            counts[_bits(fields["wait"])] -= 1
            if opcode in actions:
                actions[opcode](fields)
            counts[_bits(fields["signal"])] += 1
            if counts.max() >= 1 << isa.SEMAPHORE_WIDTH:
                name = isa.Semaphore(int(counts.argmax())).name
                raise FunctionalError(f"semaphore {name} must not overflow")
        stuck = [f"{q[0][0].name} of layer {q[0][1]['layer']}" for q in queues.values() if q]
        if stuck or self._compute.vectors:
            raise FunctionalError(
                f"program must run to its end; waiting: {', '.join(stuck) or 'none'}, "
                f"{len(self._compute.vectors)} vectors left"
            )

    def _ready(self, queues: Queues, counts: np.ndarray) -> isa.Engine | None:
        """The first engine whose next instruction can be carried out."""
        for engine in self._order():
            if not queues[engine]:
                continue
            opcode, fields = queues[engine][0]
            if not counts[_bits(fields["wait"])].all():
                continue
            if opcode is not isa.Opcode.POST or self._post.is_fed(fields):
                return engine
        return None


def _bits(mask: int) -> list[int]:
    return [index for index in range(isa.SEMAPHORES) if mask >> index & 1]
