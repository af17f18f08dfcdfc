"""Functional simulator: executes a program's instructions on the architecture's memories.

It knows the instruction set and the data formats but no cycles: each instruction is carried out
at once, as soon as its semaphores allow. So it finds wrong programs (addresses, tables, missing
tokens: a deadlock is an error that names the waiting instructions) in a fraction of the time that
the RTL takes, and it is the reference for what a program means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from compiler.compile import image_words
from compiler.program import Program, TensorInfo
from golden.fixed_point import round_shift, saturate
from hw import isa
from hw.config import AcceleratorConfig
from hw.memory.packing import entry_formats

from .reconstruction import block_places

__all__ = ["FunctionalError", "FunctionalSimulator", "LayerTrace"]

Fields = dict[str, int]
Queues = dict[isa.Engine, deque[tuple[isa.Opcode, Fields]]]
ENGINE_OF = {
    isa.Opcode.DMA: isa.Engine.DMA,
    isa.Opcode.FILL: isa.Engine.FILL,
    isa.Opcode.COMPUTE: isa.Engine.COMPUTE,
    isa.Opcode.POST_CONFIG: isa.Engine.POST,
    isa.Opcode.POST: isa.Engine.POST,
}


class FunctionalError(RuntimeError):
    """The program does something that no program may do."""


@dataclass
class LayerTrace:
    """What a layer wrote: accumulators in order, and (address, values) of its memory writes."""

    accumulators: list[np.ndarray] = field(default_factory=list)
    streams: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Vector addresses [n] and values [n, rows]."""
    granules: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Granule addresses [n] and bits [n, rows]."""


def _signed(words: np.ndarray, bits: int) -> np.ndarray:
    values = words.astype(np.int64) & ((1 << bits) - 1)
    return values - ((values >> (bits - 1)) << bits)


class FunctionalSimulator:
    """One accelerator with its memories; ``run`` classifies one image.

    Args:
        program: The program.
        config: Sizes.
        order: The engines, in the order in which they are asked for the next instruction that can
            be carried out; called before each one. A right program gives the same results whatever
            the order: what must come first has a semaphore.
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
        rows, lanes, memory = config.array.rows, config.array.lanes, config.memory
        self.program, self.config = program, config
        self.rows, self.lanes, self.word_width = rows, lanes, config.array.word_width
        self.external = np.zeros(memory.external_words, np.uint32)
        self.activation = np.zeros((memory.activation_words * 2, rows), bool)
        self.columns = np.zeros((2, memory.column_granules, rows), bool)
        self.weights = np.zeros((memory.weight_words, rows, lanes), bool)
        self.coefficients = np.zeros((memory.coefficient_words, rows), np.int64)
        self.parameters = np.zeros(memory.parameter_words, np.uint32)
        self.windows = np.zeros((memory.window_entries, config.array.granules), np.int64)
        self.masks = np.zeros((memory.window_entries, lanes), bool)
        self.passes = np.zeros((memory.pass_entries, 4), np.int64)
        self.thresholds = np.zeros((memory.threshold_groups, config.datapath.comparators, 2), int)
        # Behind the stream memory lie the vectors that are spilled.
        self.stream = np.zeros((memory.stream_places, rows), np.int64)
        self.vectors: deque[np.ndarray] = deque()
        self.partial: np.ndarray | None = None
        """Sums [pixels, rows] that the next COMPUTE goes on with."""
        self.post_config: Fields = {}
        self.traces: dict[int, LayerTrace] = {}
        for stage in program.stages:
            self.external[: len(stage.memory)] = stage.memory
            self._execute(stage.entry)
        self.external[: len(program.memory)] = program.memory

    def run(self, image: np.ndarray) -> np.ndarray:
        """Logits (int64) of a uint8 image [H, W, C]; ``traces`` holds what each layer wrote.

        A batch is one image below the other, and so are its logits [images, classes].
        """
        words = image_words(image)
        self.external[self.program.image_address :][: len(words)] = words
        self.traces = {}
        self._execute(self.program.image_entry)
        start, count = self.program.result_address, self.program.result_words
        logits = self.program.logits(_signed(self.external[start : start + count], 32))
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
            block, lane = divmod(position, self.rows)
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
            item = max(32, self.word_width)
            granules = range(lane * item // self.rows, (lane * item + 32) // self.rows)
            bits = np.concatenate([lanes[address + g] for g in granules])
            return int(_signed(np.packbits(bits, bitorder="little").view("<u4"), 32)[0])
        except KeyError:
            raise FunctionalError(f"tensor {info.name} must be written completely") from None

    # Control -------------------------------------------------------------------------------------

    def _fetch(self, entry: int) -> Queues:
        queues: Queues = {engine: deque() for engine in isa.Engine}
        while True:
            words = self.external[entry : entry + isa.INSTRUCTION_WORDS]
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
            isa.Opcode.DMA: self._dma,
            isa.Opcode.FILL: self._fill,
            isa.Opcode.COMPUTE: self._compute,
            isa.Opcode.POST_CONFIG: self._configure,
            isa.Opcode.POST: self._post,
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
        if stuck or self.vectors:
            raise FunctionalError(
                f"program must run to its end; waiting: {', '.join(stuck) or 'none'}, "
                f"{len(self.vectors)} vectors left"
            )

    def _ready(self, queues: Queues, counts: np.ndarray) -> isa.Engine | None:
        """The first engine whose next instruction can be carried out."""
        for engine in self._order():
            if not queues[engine]:
                continue
            opcode, fields = queues[engine][0]
            if counts[_bits(fields["wait"])].all() and self._fed(opcode, fields):
                return engine
        return None

    def _fed(self, opcode: isa.Opcode, fields: Fields) -> bool:
        """Whether a POST finds all its array vectors."""
        if opcode is not isa.Opcode.POST or not self.post_config["array"]:
            return True
        return len(self.vectors) >= fields["tiles"] * self._array_vectors(fields)

    def _array_vectors(self, fields: Fields) -> int:
        count = fields["vectors"]
        if self.post_config["residual"] == isa.ResidualMode.SUM.value:
            count //= self.post_config["inner_x"] * self.post_config["inner_y"]
        return count

    # DMA -----------------------------------------------------------------------------------------

    def _items(self, address: int, count: int, width: int) -> np.ndarray:
        """``count`` items of ``width`` bits as bool [count, width]."""
        words = -(-count * width // 32)
        bits = np.unpackbits(
            self.external[address : address + words].astype("<u4").view(np.uint8),
            bitorder="little",
        )
        return bits[: count * width].reshape(count, width).astype(bool)

    def _dma(self, f: Fields) -> None:
        """All runs of a command; on chip they lie one behind the other."""
        address = f["address"]
        for row in range(f["rows"] + 1):
            for run in range(f["runs"] + 1):
                external = f["external"] + row * f["row_stride"] + run * f["run_stride"]
                self._dma_run({**f, "address": address, "external": external})
                address += f["count"]

    def _dma_run(self, f: Fields) -> None:
        target, base, count = isa.DmaTarget(f["target"]), f["address"], f["count"]
        source = self.external[f["external"] :]
        rows = self.rows
        if target is isa.DmaTarget.STREAMS:
            self._dma_streams(f)
        elif f["store"]:
            bits = self.activation[2 * base : 2 * (base + count)].ravel()
            packed = np.packbits(bits, bitorder="little")
            packed = np.pad(packed, (0, -packed.size % 4)).view("<u4")
            self.external[f["external"] :][: len(packed)] = packed
        elif target is isa.DmaTarget.ACTIVATIONS:
            self.activation[2 * base :][: 2 * count] = self._items(
                f["external"], count, self.word_width
            ).reshape(2 * count, rows)
        elif target is isa.DmaTarget.WEIGHTS:
            items = self._items(f["external"], count, self.lanes)
            self.weights[base : base + count // rows] = items.reshape(-1, rows, self.lanes)
        elif target is isa.DmaTarget.COEFFICIENTS:
            values = _signed(source[:count], self.config.datapath.coefficient_width)
            self.coefficients[base : base + count // rows] = values.reshape(-1, rows)
        elif target is isa.DmaTarget.PARAMETERS:
            self.parameters[base : base + count] = source[:count]
        elif target is isa.DmaTarget.WINDOWS:
            granules = self.config.array.granules
            pairs = -(-granules // 2)
            width = pairs + -(-self.lanes // 32)
            entries = source[: count * width].reshape(count, width)
            offsets = np.ascontiguousarray(entries[:, :pairs]).astype("<u4").view("<u2")
            self.windows[base : base + count] = offsets[:, :granules]
            masks = np.ascontiguousarray(entries[:, pairs:]).astype("<u4").view(np.uint8)
            bits = np.unpackbits(masks, axis=1, bitorder="little")
            self.masks[base : base + count] = bits[:, : self.lanes].astype(bool)
        elif target is isa.DmaTarget.PASSES:
            entries = source[: 2 * count].reshape(count, 2).astype(np.int64)
            self.passes[base : base + count] = np.stack(
                [entries[:, 0] & 0xFFFF, entries[:, 0] >> 16, entries[:, 1] & 0xFFFF]
                + [entries[:, 1] >> 16],
                axis=1,
            )
        else:
            width = 2 * self.config.datapath.comparators
            groups = source[: count * width].reshape(count, -1, 2)
            self.thresholds[base : base + count, :, 0] = _signed(groups[..., 0], 32)
            self.thresholds[base : base + count, :, 1] = groups[..., 1]

    def _dma_streams(self, f: Fields) -> None:
        """Vectors of signed values, each in whole words."""
        width, count, first = self.config.datapath.stream_width, f["count"], f["address"]
        words = entry_formats(self.config)[isa.DmaTarget.STREAMS].words
        external = self.external[f["external"] :][: count * words]
        if f["store"]:
            base = self.config.memory.stream_vectors + first
            vectors = self.stream[base : base + count] & ((1 << width) - 1)
            bits = (vectors[..., None] >> np.arange(width) & 1).reshape(count, -1)
            bits = np.pad(bits, ((0, 0), (0, 32 * words - bits.shape[1]))).astype(bool)
            external[:] = np.packbits(bits, axis=1, bitorder="little").view("<u4").ravel()
            return
        bits = np.unpackbits(external.astype("<u4").view(np.uint8), bitorder="little")
        bits = bits.reshape(count, -1)[:, : self.rows * width].reshape(count, self.rows, width)
        self.stream[first : first + count] = _signed(
            (bits.astype(np.int64) << np.arange(width)).sum(axis=2), width
        )

    # FILL ----------------------------------------------------------------------------------------

    def _fill(self, f: Fields) -> None:
        pixel_words = max(1, 32 // self.word_width)
        unit = pixel_words if f["image"] else 1
        words = []
        for row in range(f["rows"]):
            start = f["source"] + row * f["source_stride"]
            words.append(self.activation[2 * start : 2 * (start + f["words"] * unit)])
        body = np.array(words).reshape(f["rows"], f["words"], unit * 2 * self.rows)
        body = np.pad(body, ((f["top"], f["bottom"]), (0, 0), (0, 0)))
        if f["image"]:
            body = self._patches(body, f)
        else:
            body = np.pad(body, ((0, 0), (f["left"], f["right"]), (0, 0)))
        granules = body.reshape(-1, self.rows)
        if len(granules) > self.config.memory.column_granules:
            raise FunctionalError(f"FILL must fit a column buffer, not {len(granules)} granules")
        self.columns[f["half"], : len(granules)] = granules

    def _patches(self, pixels: np.ndarray, f: Fields) -> np.ndarray:
        """[rows, patches, granules * 8 * rows] row patches of raw pixels [rows, pixels, bits]."""
        bits = pixels[:, :, :32].copy()
        inside = slice(f["top"], f["top"] + f["rows"])
        bits[inside, :, 7::8] ^= True
        bits = np.pad(bits, ((0, 0), (f["left"], f["right"]), (0, 0)))
        rows, width, _ = bits.shape
        kernel = f["kernel"]
        planes = bits.reshape(rows, width, 4, 8)  # byte, plane
        out = []
        for x in range(kernel - 1, width, f["stride"]):
            ages = planes[:, x - kernel + 1 : x + 1][:, ::-1]  # [rows, age, byte, plane]
            lanes = ages.reshape(rows, kernel * 4, 8)
            lanes = np.pad(lanes, ((0, 0), (0, f["granules"] * self.rows - kernel * 4), (0, 0)))
            blocks = lanes.reshape(rows, f["granules"], self.rows, 8).transpose(0, 1, 3, 2)
            out.append(blocks.reshape(rows, -1))
        return np.stack(out, axis=1)

    # COMPUTE -------------------------------------------------------------------------------------

    def _compute(self, f: Fields) -> None:
        pixel = np.arange(f["pixels"])
        inner_x = pixel % f["inner_x"]
        inner_y = pixel // f["inner_x"] % f["inner_y"]
        window = pixel // (f["inner_x"] * f["inner_y"])
        outer_x, outer_y = window % f["outer_x"], window // f["outer_x"]
        base = (
            inner_x * f["stride_inner_x"]
            + inner_y * f["stride_inner_y"]
            + outer_x * f["stride_outer_x"]
            + outer_y * f["stride_outer_y"]
        )
        buffer = self.columns[f["half"]]
        passes = self.passes[f["pass_first"] : f["pass_first"] + f["passes"]]
        for tile in range(f["tiles"]):
            sums = np.zeros((f["pixels"], self.rows), np.int64)
            if self.partial is not None:
                sums, self.partial = self.partial, None
            for index, (first, length, plane, weight) in enumerate(passes):
                offsets = self.windows[first : first + length]
                address = base[:, None, None] + offsets[None] + plane
                data = buffer[address % len(buffer)].reshape(f["pixels"], -1).astype(np.int32)
                start = f["weight_base"] + tile * f["weight_stride"] + weight
                weights = self.weights[start : start + length].transpose(0, 2, 1)
                both = data @ weights.reshape(-1, self.rows).astype(np.int32)
                mask = data @ self.masks[first : first + length].ravel().astype(np.int32)
                if both.max(initial=0) >= 1 << self.config.array.count_width:
                    raise FunctionalError("a pass must not overflow the count accumulators")
                coefficient = self.coefficients[f["coefficient_base"] + tile * f["passes"] + index]
                sums += (2 * both - mask[:, None]).astype(np.int64) * coefficient
            if f["partial"]:
                self.partial = sums
            else:
                self.vectors.extend(sums)

    # POST ----------------------------------------------------------------------------------------

    def _configure(self, f: Fields) -> None:
        self.post_config = f

    def _residual(self, f: Fields, tile: int, count: int) -> np.ndarray:
        """int64 [count, rows] stream vectors (mode SUM: summed) of one channel tile."""
        c = self.post_config
        mode = isa.ResidualMode(c["residual"])
        if mode is isa.ResidualMode.NONE:
            return np.zeros((count, self.rows), np.int64)
        inner = c["inner_x"] * c["inner_y"]
        vector = np.arange(f["vectors"])
        window = vector // inner
        address = (
            f["residual_base"]
            + tile
            + vector % c["inner_x"] * c["residual_inner_x"]
            + vector // c["inner_x"] % c["inner_y"] * c["residual_inner_y"]
            + window % c["outer_x"] * c["residual_outer_x"]
            + window // c["outer_x"] * c["residual_outer_y"]
        )
        values = self.stream[address]
        if mode is isa.ResidualMode.SUM:
            values = values.reshape(count, inner, self.rows).sum(1)
        return values

    def _post(self, f: Fields) -> None:
        c, rows = self.post_config, self.rows
        trace = self.traces.setdefault(f["layer"], LayerTrace())
        count = self._array_vectors(f)
        for tile in range(f["tiles"]):
            start = f["parameter_base"] + tile * 3 * rows
            table = self.parameters[start : start + 3 * rows].reshape(rows, 3)
            acc = np.zeros((count, rows), np.int64)
            if c["array"]:
                acc = np.array([self.vectors.popleft() for _ in range(count)])
            acc = acc + _signed(table[:, 0], 32)
            trace.accumulators.append(acc)
            v = acc + (self._residual(f, tile, count) << c["residual_shift"])
            self._check(v)
            if c["relu_stream"]:
                v = np.maximum(v, 0)
            s = saturate(round_shift(v, c["stream_shift"]), self.config.datapath.stream_width)
            if c["store_stream"]:
                index = np.arange(count)
                address = (
                    f["stream_base"]
                    + tile
                    + index % c["outer_x"] * c["stream_outer_x"]
                    + index // c["outer_x"] * c["stream_outer_y"]
                )
                self.stream[address] = s
                trace.streams.append((address, s))
            u = s * _signed(table[:, 2], 18) + _signed(table[:, 1], 32) if c["affine"] else v
            if c["relu"]:
                u = np.maximum(u, 0)
            self._check(u)
            self._output(f, tile, self._pool(u, table[:, 2] >> 31 > 0), trace)

    def _check(self, values: np.ndarray) -> None:
        limit = 1 << (self.config.datapath.accumulator_width - 1)
        if values.size and not -limit <= values.min() <= values.max() < limit:
            raise FunctionalError("accumulators must not overflow")

    def _pool(self, u: np.ndarray, minimum: np.ndarray) -> np.ndarray:
        c = self.post_config
        operation = isa.PoolOperation(c["pool"])
        if operation is isa.PoolOperation.NONE:
            return u
        windows = u.reshape(-1, c["inner_x"] * c["inner_y"], self.rows)
        if operation is isa.PoolOperation.SUM:
            return windows.sum(1)
        return np.where(minimum, windows.min(1), windows.max(1))

    def _output(self, f: Fields, tile: int, p: np.ndarray, trace: LayerTrace) -> None:
        c = self.post_config
        kind = isa.OutputKind(c["output"])
        if kind is isa.OutputKind.NONE:
            return
        index = np.arange(len(p))
        address = (
            f["code_base"]
            + tile * c["code_tile"]
            + index % c["outer_x"] * c["code_outer_x"]
            + index // c["outer_x"] * c["code_outer_y"]
        )
        if kind is isa.OutputKind.RAW:
            items = (p & 0xFFFFFFFF).astype("<u4").view(np.uint8).reshape(len(p), self.rows, 4)
            width = max(32, self.word_width)
            bits = np.unpackbits(items, axis=2, bitorder="little")
            bits = np.pad(bits, ((0, 0), (0, 0), (0, width - 32)))
            granules = bits.reshape(len(p), -1, self.rows)
        else:
            codes = self._codes(p) if kind is isa.OutputKind.CODES else self._fixed(p)
            planes = np.arange(c["planes"])
            granules = (codes[:, None, :] >> planes[None, :, None] & 1).astype(bool)
        target = (address[:, None] + np.arange(granules.shape[1])).ravel()
        bits = granules.reshape(-1, self.rows).astype(bool)
        self.activation[target] = bits
        trace.granules.append((target, bits))

    def _codes(self, p: np.ndarray) -> np.ndarray:
        c = self.post_config
        groups = self.thresholds[c["threshold_base"] :][: c["threshold_groups"]]
        codes = np.full(p.shape, c["code_initial"], np.int64)
        for threshold, delta in groups.reshape(-1, 2):
            codes ^= np.where(p > threshold, delta, 0)
        return codes

    def _fixed(self, p: np.ndarray) -> np.ndarray:
        c = self.post_config
        return saturate(round_shift(p, c["output_shift"]), c["output_bits"])


def _bits(mask: int) -> list[int]:
    return [index for index in range(isa.SEMAPHORES) if mask >> index & 1]
