"""Paces the words of the passes: what enters column 0 of the array in every cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import AcceleratorConfig
from .passes import pass_step

__all__ = ["Sequencer", "array_step"]


def array_step(config: AcceleratorConfig) -> data.StructLayout:
    """What the array does in one cycle. The flags from ``valid`` on are 0 without a word."""
    step = pass_step(config)
    return data.StructLayout(
        {
            **{name: step[name].shape for name in ("window", "plane", "weight")},
            "coefficient": step["place"].shape["coefficient"].shape,
            "half": 1,
            "valid": 1,  # a word enters
            "start": 1,  # first word of a strip
            "tile": 1,  # first word of a tile
            "last": 1,  # last word of a pass
            "final": 1,  # last word of a strip whose sums leave
            "release": 1,  # first word of the last pass of a command
            "done": 1,  # last word of a command
        }
    )


def _gap(m: Module, event: Signal, cycles: int, name: str) -> Signal:
    """0 in the ``cycles - 1`` cycles after ``event``, which must not come then."""
    left = Signal(range(cycles), name=f"{name}_left")
    over = Signal(init=1, name=f"{name}_over")
    m.d.sync += [left.eq(left - 1), over.eq(over | (left == 1))]
    with m.If(event):
        m.d.sync += [left.eq(cycles - 1), over.eq(cycles == 1)]
    return over


class Sequencer(wiring.Component):
    """Issues one word per cycle; passes, strips and commands follow one another without gaps.

    A word waits where it would break a rule that the blocks behind rely on:

    * last words of passes are at least ``drain_period`` cycles apart;
    * first words of strips are at least ``columns`` cycles apart, and so are the last words of
      those whose sums leave;
    * the last word of a strip needs room for ``columns`` vectors in the queue.

    So a strip takes ``max(columns, sum over its passes of max(length, drain_period))`` cycles
    while the vectors are taken fast enough.

    Parameters
    ----------
    config
        Uses the sizes of the array and of the tables.
    queue_depth
        Vectors that the queue holds: a power of two, at least ``columns``.
    """

    def __init__(self, config: AcceleratorConfig, *, queue_depth: int) -> None:
        self._config = config
        self._queue_depth = queue_depth
        super().__init__(
            {
                "passes": In(stream.Signature(pass_step(config))),
                "step": Out(array_step(config)),
                "emit": Out(1),  # c cycles after `step.final`: column c holds a pixel
                "popped": In(1),  # a vector left the queue
                "active": Out(1),  # a pass is in hand
                "wait_drain": Out(1),  # a word waits for its distance from an earlier one
                "wait_post": Out(1),  # a word waits for room in the queue
            }
        )

    def elaborate(self, platform):
        m = Module()
        current = Signal(pass_step(self._config))
        place = current.place
        opening, last = Signal(), Signal()
        issue, starts, ends = Signal(), Signal(), Signal()
        step = self.step

        m.d.comb += [
            starts.eq(opening & place.first),
            ends.eq(last & place.final),
            self.passes.ready.eq(~self.active | (issue & last)),
        ]
        self._pace(m, issue, starts, last, ends, place.columns)
        with m.If(issue):
            m.d.sync += [
                current.window.eq(current.window + 1),
                current.weight.eq(current.weight + 1),
                current.length.eq(current.length - 1),
                last.eq(current.length == 2),
                opening.eq(0),
            ]
        with m.If(self.passes.ready):
            m.d.sync += [
                self.active.eq(self.passes.valid),
                current.eq(self.passes.payload),
                last.eq(self.passes.payload.length == 1),
                opening.eq(1),
            ]
        m.d.sync += [
            step.window.eq(current.window),
            step.plane.eq(current.plane),
            step.weight.eq(current.weight),
            step.coefficient.eq(place.coefficient),
            step.half.eq(place.half),
            step.valid.eq(issue),
            step.start.eq(issue & starts),
            step.tile.eq(issue & starts & place.tile),
            step.last.eq(issue & last),
            step.final.eq(issue & ends),
            step.release.eq(issue & opening & place.end),
            step.done.eq(issue & last & place.end),
        ]
        self._emit(m, issue & ends, place.columns)
        return m

    def _pace(
        self,
        m: Module,
        issue: Signal,
        starts: Signal,
        last: Signal,
        ends: Signal,
        vectors: Signal,
    ) -> None:
        """Decide whether the current word may enter; ``vectors`` is what its strip will give."""
        array = self._config.array
        apart, room = Signal(), Signal()
        pass_apart = _gap(m, issue & last, array.drain_period, "pass")
        start_apart = _gap(m, issue & starts, array.columns, "start")
        end_apart = _gap(m, issue & ends, array.columns, "end")
        m.d.comb += [
            apart.eq((~last | pass_apart) & (~starts | start_apart) & (~ends | end_apart)),
            room.eq(self._room(m, issue & ends, vectors)),
            issue.eq(self.active & apart & (~ends | room)),
            self.wait_drain.eq(self.active & ~apart),
            self.wait_post.eq(self.active & apart & ends & ~room),
        ]

    def _room(self, m: Module, reserve: Signal, vectors: Signal) -> Signal:
        """1 if the queue can take a full strip besides the vectors that are on their way."""
        free = Signal(range(self._queue_depth + 1), init=self._queue_depth)
        m.d.sync += free.eq(free + self.popped - Mux(reserve, vectors, 0))
        return free[exact_log2(self._config.array.columns) :].any()

    def _emit(self, m: Module, event: Signal, columns: Signal) -> None:
        """``emit`` for as many cycles as the strip has pixels."""
        left = Signal.like(columns)
        m.d.comb += self.emit.eq(left != 0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(event):
            m.d.sync += left.eq(columns)
