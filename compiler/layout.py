"""Where tensors lie: channel orders, granule strides and memory regions."""

from __future__ import annotations

from dataclasses import dataclass

from golden.integer_network import ConvolutionLayer, Residual

from .program import ProgramError

__all__ = [
    "NO_CHANNEL",
    "MemoryFull",
    "PlaneLayout",
    "Region",
    "RegionAllocator",
    "StreamLayout",
    "identity_order",
    "output_order",
]

NO_CHANNEL = -1


def _blocks(order: tuple[int, ...], rows: int) -> int:
    return len(order) // rows


@dataclass(frozen=True, kw_only=True)
class PlaneLayout:
    """A plane tensor in the activation memory (see ``docs/architecture.md``, data formats).

    A tensor that is part of a concatenation lies inside the pixels of the whole, with channel
    blocks of others ``before`` and ``after`` its own. Pixels are multiples of ``unit`` granules.
    """

    height: int
    width: int
    order: tuple[int, ...]
    planes: int
    rows: int
    before: int = 0
    after: int = 0
    unit: int = 2

    @property
    def blocks(self) -> int:
        return _blocks(self.order, self.rows)

    @property
    def slots(self) -> int:
        """Granules per channel block: even, or 1 for one plane."""
        return 1 if self.planes == 1 else (self.planes + 1) // 2 * 2

    @property
    def pixel_stride(self) -> int:
        """Granules per pixel: even at least, so that pixels begin at words."""
        return -(-(self.before + self.blocks + self.after) * self.slots // self.unit) * self.unit

    def block_granule(self, block: int) -> int:
        """Granule of a channel block inside its pixel."""
        return (self.before + block) * self.slots

    @property
    def row_stride(self) -> int:
        return self.width * self.pixel_stride

    @property
    def words(self) -> int:
        return self.height * self.row_stride // 2


@dataclass(frozen=True, kw_only=True)
class StreamLayout:
    """A fixed-point tensor in the stream memory: ``[y][x][block]`` vectors."""

    height: int
    width: int
    order: tuple[int, ...]
    rows: int

    @property
    def blocks(self) -> int:
        return _blocks(self.order, self.rows)

    @property
    def row_stride(self) -> int:
        return self.width * self.blocks

    @property
    def vectors(self) -> int:
        return self.height * self.row_stride


def identity_order(channels: int, rows: int) -> tuple[int, ...]:
    """Channels in the model's order, filled up to whole blocks."""
    padding = -channels % rows
    return tuple(range(channels)) + (NO_CHANNEL,) * padding


def output_order(
    layer: ConvolutionLayer, residual: Residual | None, source: tuple[int, ...] | None, rows: int
) -> tuple[int, ...]:
    """Channel order of a layer's output.

    The residual adder adds lane r of a stream vector to lane r of the array's vector, so a
    channel must sit in the lane, and the block, of the residual channel that is added to it.
    Channels without a residual fill the lanes that hold none (their stream value is zero), then
    blocks of their own. So a shortcut that pads channels in any way costs nothing.
    """
    channels = layer.convolution_shape[2]
    if residual is None or source is None:
        return identity_order(channels, rows)
    position_of: dict[int, int] = {}
    for position, channel in enumerate(source):
        if channel != NO_CHANNEL:
            position_of[channel] = position
    order = [NO_CHANNEL] * len(source)
    unmapped = []
    for channel in range(channels):
        mapped = int(residual.channel_map[channel])
        if mapped == NO_CHANNEL:
            unmapped.append(channel)
            continue
        position = position_of[mapped]
        if order[position] != NO_CHANNEL:
            raise ProgramError(
                f"layer {layer.name}: residual channel {mapped} must be added to one channel only"
            )
        order[position] = channel
    # A lane whose stream channel is added to no output channel must stay empty.
    free = [p for p, channel in enumerate(source) if channel == NO_CHANNEL]
    for position, channel in zip(free, unmapped, strict=False):
        order[position] = channel
    rest = unmapped[len(free) :]
    order += rest + [NO_CHANNEL] * (-len(rest) % rows)
    while len(order) > rows and all(c == NO_CHANNEL for c in order[-rows:]):
        del order[-rows:]
    return tuple(order)


@dataclass(frozen=True)
class Region:
    """A piece of a memory that is live from step ``first`` to step ``last``, both included."""

    base: int
    size: int
    first: int
    last: int
    owner: str = ""


class MemoryFull(ProgramError):
    """No place for a region. ``live`` are the regions that live while it would, itself included."""

    def __init__(self, text: str, live: list[Region]) -> None:
        super().__init__(text)
        self.live = live


class RegionAllocator:
    """First fit over lifetimes: regions overlap in memory only if they never live together."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self.regions: list[Region] = []
        self.peak = 0

    def allocate(
        self, owner: str, size: int, first: int, last: int, *, from_top: bool = False
    ) -> int:
        """Base of a new region; raises :class:`ProgramError` with the numbers if none fits."""
        live = sorted(
            (r for r in self.regions if r.first <= last and first <= r.last), key=lambda r: r.base
        )
        if from_top:
            top = self.capacity
            for region in reversed(live):
                if region.base + region.size + size <= top:
                    break
                top = min(top, region.base)
            if top >= size:
                self.place(top - size, size, first, last, owner)
                return top - size
        base = 0
        for region in live:
            if base + size <= region.base:
                break
            base = max(base, region.base + region.size)
        if base + size > self.capacity:
            raise MemoryFull(
                f"{owner} must fit the {self.name}: it needs {size} entries from {base}, "
                f"the {self.name} has {self.capacity}",
                [*live, Region(base, size, first, last, owner)],
            )
        self.place(base, size, first, last, owner)
        return base

    def place(self, base: int, size: int, first: int, last: int, owner: str = "") -> None:
        """Record a region at a given base (a tensor updated in place)."""
        self.regions.append(Region(base, size, first, last, owner))
        self.peak = max(self.peak, base + size)
