"""Passes of a convolution: which plane pairs the array sums at once, and with which operands.

A pass is one sum of counts, weighted once. Plainly, every pair of a weight plane and an activation
plane is a pass of its own. Pairs whose coefficients are equal in all output channels, but for the
sign, can share one: their granules follow one another in the lanes, with inverted weight bits
where the sign differs, since ``sum (2(1-w) - 1) a = -sum (2w - 1) a``. If both bases are powers
of two (a first layer of 8 x 8 planes) these are the diagonals i + j = s: 15 passes instead of 64,
and narrow windows fill the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from golden.integer_network import ConvolutionLayer
from hw.config import AcceleratorConfig
from hw.memory.packing import bit_items

from .layout import NO_CHANNEL, PlaneLayout
from .parts import Part
from .windows import NO_TAP, Granule, window_granules

__all__ = [
    "ConvolutionTables",
    "PartTables",
    "Pass",
    "PlanePair",
    "convolution_tables",
    "equal_pairs",
]


@dataclass(frozen=True)
class PlanePair:
    """A weight plane against an activation plane."""

    weight: int
    source: int
    negative: bool
    """Its coefficients are those of the first pair of its group, negated."""


@dataclass(frozen=True)
class Pass:
    """One pass table entry.

    ``window`` is relative to the layer's first window entry, ``weight`` to the first weight word
    of the channel tile, or of its part of the window.
    """

    window: int
    length: int
    plane: int
    weight: int


@dataclass(frozen=True)
class PartTables:
    """What belongs to a part of the window: passes, and weight words of each channel tile."""

    part: Part
    passes: range
    weights: range


@dataclass(frozen=True)
class ConvolutionTables:
    """What the array needs for one layer.

    ``window_rows``, ``window_offsets`` int [words, granules]: buffer row and granule in the row;
    ``masks`` bool [words, lanes]; ``weights`` bool [tiles, weight words, rows, lanes];
    ``coefficients`` int [tiles, passes, rows].
    """

    window_rows: np.ndarray
    window_offsets: np.ndarray
    masks: np.ndarray
    passes: tuple[Pass, ...]
    weights: np.ndarray
    coefficients: np.ndarray
    parts: tuple[PartTables, ...] = ()
    """If the window is filled part by part."""

    @property
    def weights_at_once(self) -> int:
        """Weight words of a channel tile that must be on chip together."""
        if self.parts:
            return max(len(part.weights) for part in self.parts)
        return self.weights.shape[1]

    def windows(self, row_granules: int) -> np.ndarray:
        """int [words, granules] granule offsets when a buffer row has ``row_granules``."""
        return self.window_rows * row_granules + self.window_offsets

    def strip_cycles(self, config: AcceleratorConfig) -> int:
        """Cycles of one strip of one tile in steady state."""
        period = config.array.drain_period
        return max(config.array.columns, sum(max(p.length, period) for p in self.passes))

    def fits_half(self, config: AcceleratorConfig) -> bool:
        """Whether all tables fit half of their memories: so they do even if they are streamed."""
        memory = config.memory
        return (
            2 * len(self.masks) <= memory.window_entries
            and 2 * len(self.passes) <= min(memory.pass_entries, memory.coefficient_words)
            and 2 * self.weights_at_once <= memory.weight_words
        )


def equal_pairs(coefficients: np.ndarray) -> list[tuple[PlanePair, ...]]:
    """Groups of plane pairs with equal or opposite columns of ``int [out_channels, K_w, K_a]``.

    Pairs whose coefficients are all zero add nothing and are in no group.
    """
    groups: dict[bytes, list[tuple[int, int, int]]] = {}
    for weight, source in np.ndindex(coefficients.shape[1:]):
        column = coefficients[:, weight, source]
        if not column.any():
            continue
        sign = int(np.sign(column[np.flatnonzero(column)[0]]))
        groups.setdefault((sign * column).tobytes(), []).append((weight, source, sign))
    return [
        tuple(PlanePair(weight, source, sign != members[0][2]) for weight, source, sign in members)
        for members in groups.values()
    ]


def sorted_pairs(groups: list[tuple[PlanePair, ...]]) -> list[PlanePair]:
    """All pairs of the groups, by planes."""
    return sorted(
        (pair for group in groups for pair in group), key=lambda pair: (pair.weight, pair.source)
    )


def convolution_tables(
    layer: ConvolutionLayer,
    config: AcceleratorConfig,
    source: PlaneLayout | None,
    order: tuple[int, ...],
    parts: tuple[Part, ...] = (),
) -> ConvolutionTables:
    """Tables of a layer: pairs with equal coefficients share passes where that saves cycles.

    Merged pairs need weight words and window entries of their own, which must be loaded.
    ``source`` is None for the image (row patches); ``order`` is the output's channel order; with
    ``parts`` the passes of each of them come together.
    """
    merged = [equal_pairs(coefficients) for coefficients in layer.coefficients]
    if not any(merged):  # the bias alone counts, but a layer has a pass
        merged[0] = [(PlanePair(0, 0, negative=False),)]
    single = [
        [(PlanePair(pair.weight, pair.source, negative=False),) for pair in sorted_pairs(groups)]
        for groups in merged
    ]
    plain = _Tables(layer, config, source).build(single, order, parts)
    if max(len(group) for groups in merged for group in groups) == 1:
        return plain
    height, width, _ = layer.convolution_shape
    strips = -(-height * width // config.array.columns)

    def cost(tables: ConvolutionTables) -> int:
        """Cycles of a tile of channels: computing, and loading the weights (32 bits each)."""
        item = bit_items(config.array.lanes)
        load = tables.weights.shape[1] * config.array.rows * item["words"] // item["entries"]
        return strips * tables.strip_cycles(config) + load

    shared = _Tables(layer, config, source).build(merged, order, parts)
    return shared if shared.fits_half(config) and cost(shared) < cost(plain) else plain


class _Tables:
    """Collects the window words, weight words and passes of a layer."""

    def __init__(
        self, layer: ConvolutionLayer, config: AcceleratorConfig, source: PlaneLayout | None
    ) -> None:
        self._layer = layer
        self._config = config
        self._source = source
        self._granules = config.array.granules
        self._window: list[list[Granule]] = []
        self._taps: list[np.ndarray] = []
        # Per weight word: taps [granules, rows]; weight plane and whether bits are inverted,
        # of each granule.
        self._weights: list[tuple[np.ndarray, list[int], list[bool]]] = []
        self._known: dict[object, int] = {}
        """First words of the windows so far, by what they are."""
        self._part_start = 0
        """First weight word of the part that is built."""
        self._passes: list[Pass] = []
        self._columns: list[np.ndarray] = []

    def build(
        self,
        groups: list[list[tuple[PlanePair, ...]]],
        order: tuple[int, ...],
        parts: tuple[Part, ...],
    ) -> ConvolutionTables:
        """Tables whose passes are ``groups``, for each range, and for each part of the window."""
        rows = self._config.array.rows
        built: list[PartTables] = []
        for part in parts or (None,):
            passes, weights = len(self._passes), len(self._weights)
            self._part_start = weights
            self._add_ranges(groups, part)
            if part is not None and len(self._passes) > passes:
                passes_of, weights_of = range(passes, len(self._passes)), len(self._weights)
                built.append(PartTables(part, passes_of, range(weights, weights_of)))
        held = np.array(order)
        real = held != NO_CHANNEL
        table = np.zeros((len(order), len(self._passes)), np.int64)
        table[real] = np.stack(self._columns, axis=1)[held[real]]
        tiles = len(order) // rows
        bits = self._weight_bits(held)
        return ConvolutionTables(
            window_rows=np.array([[g.row for g in held] for held in self._window]),
            window_offsets=np.array([[g.offset for g in held] for held in self._window]),
            masks=np.array(self._taps).reshape(len(self._taps), -1) != NO_TAP,
            passes=tuple(self._passes),
            weights=bits.reshape(tiles, rows, len(self._weights), -1).transpose(0, 2, 1, 3),
            coefficients=table.reshape(tiles, rows, -1).transpose(0, 2, 1),
            parts=tuple(built),
        )

    def _add_ranges(self, groups: list[list[tuple[PlanePair, ...]]], part: Part | None) -> None:
        """The passes of all ranges over one part of the window, or over all of it."""
        layer, rows = self._layer, self._config.array.rows
        for span, members, coefficients in zip(
            layer.ranges, groups, layer.coefficients, strict=True
        ):
            granules = window_granules(layer, self._source, rows, span)
            if part is not None:
                granules = [part.place(granule) for granule in granules if part.holds(granule)]
            if not members or not granules:
                continue
            alone = [group[0] for group in members if len(group) == 1]
            if alone:
                self._add_single(granules, alone, coefficients)
            for group in members:
                if len(group) > 1:
                    self._add_group(granules, group, coefficients)

    def _add_single(
        self, granules: list[Granule], pairs: list[PlanePair], coefficients: np.ndarray
    ) -> None:
        """A pass per pair: windows are shared by all, weight words by those of a weight plane."""
        first, held = self._add_window(granules)
        for start, length in self._segments(first, len(held)):
            weight_of: dict[int, int] = {}
            for pair in pairs:
                if pair.weight not in weight_of:
                    weight_of[pair.weight] = len(self._weights) - self._part_start
                    for taps in held[start - first : start - first + length]:
                        planes, inverted = [pair.weight] * len(taps), [False] * len(taps)
                        self._weights.append((taps, planes, inverted))
                self._passes.append(Pass(start, length, pair.source, weight_of[pair.weight]))
                self._columns.append(coefficients[:, pair.weight, pair.source])

    def _add_group(
        self, granules: list[Granule], group: tuple[PlanePair, ...], coefficients: np.ndarray
    ) -> None:
        """One pass for all pairs (more if it would be too long for the elements)."""
        first, taps = self._add_window(
            [granule.of_plane(pair.source) for pair in group for granule in granules]
        )
        owners = [pair for pair in group for _ in granules]
        owners += [group[-1]] * (-len(owners) % self._granules)
        for start, length in self._segments(first, len(taps)):
            self._passes.append(Pass(start, length, 0, len(self._weights) - self._part_start))
            self._columns.append(coefficients[:, group[0].weight, group[0].source])
            for word in range(start - first, start - first + length):
                held = owners[self._granules * word :][: self._granules]
                planes, inverted = [p.weight for p in held], [p.negative for p in held]
                self._weights.append((taps[word], planes, inverted))

    def _add_window(self, granules: list[Granule]) -> tuple[int, list[np.ndarray]]:
        """Granules step by step: the first word of the window, and the taps of each.

        Parts of a window that lie alike and hold as many channels share their words.
        """
        window, taps = [], []
        empty = np.full(self._config.array.rows, NO_TAP)
        for start in range(0, len(granules), self._granules):
            held = granules[start : start + self._granules]
            missing = self._granules - len(held)
            window.append(held + [held[-1]] * missing)
            taps.append(np.stack([granule.taps for granule in held] + [empty] * missing))
        places = tuple((granule.row, granule.offset) for held in window for granule in held)
        key = places, (np.stack(taps) != NO_TAP).tobytes()
        if key not in self._known:
            self._known[key] = len(self._window)
            self._window += window
            self._taps += taps
        return self._known[key], taps

    def _segments(self, first: int, words: int) -> list[tuple[int, int]]:
        """Cut a window into passes whose counts fit the element accumulators: (first, length)."""
        longest = self._config.array.pass_words_maximum
        count = -(-words // longest)
        cuts = [first + words * k // count for k in range(count + 1)]
        return [(a, b - a) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]

    def _weight_bits(self, held: np.ndarray) -> np.ndarray:
        """bool [positions, weight words, granules, rows]: 0 where nothing is held."""
        planes = self._layer.weight_planes
        flat = planes.reshape(*planes.shape[:2], -1)
        flat = np.pad(flat, ((0, 0), (0, 1), (0, 1)))  # index -1 reads zeros on both axes
        taps = np.stack([taps for taps, _, _ in self._weights])
        plane = np.array([plane for _, plane, _ in self._weights])
        inverted = np.array([flags for _, _, flags in self._weights])
        bits = flat[plane[None, :, :, None], held[:, None, None, None], taps[None]]
        used = (held != NO_CHANNEL)[:, None, None, None] & (taps != NO_TAP)
        return bits ^ (inverted[:, :, None] & used)
