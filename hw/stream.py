"""Connecting interfaces, and the stream queue: what every block of streams needs."""

from typing import Any

from amaranth.hdl import Module, Shape, ShapeCastable, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["StreamQueue", "connect_checked"]


def connect_checked(m: Module, a: Any, b: Any) -> None:
    """``wiring.connect``, but refuses members of equal width and different layout.

    Raises ``TypeError`` that names both interfaces and the first member that differs. Inside a
    component its own ports must be passed as ``wiring.flipped(port)``, as for ``connect``.
    """
    difference = _difference(a.signature, b.signature.flip())
    if difference is not None:
        raise TypeError(
            "interfaces must have the same layout: "
            f"{_name(a)} and {_name(b)} differ in {difference}"
        )
    wiring.connect(m, a, b)


def _difference(a: wiring.Signature, b: wiring.Signature, path: str = "") -> str | None:
    """The first member in which ``a`` and ``b`` differ, as text."""
    if set(a.members) != set(b.members):
        return f"the members of {path or 'the interface'}"
    for name, member in a.members.items():
        other = b.members[name]
        inner = f"{path}.{name}" if path else name
        if member.flow != other.flow or member.dimensions != other.dimensions:
            return f"the direction or dimensions of {inner}"
        if member.is_port != other.is_port:
            return inner
        if member.is_signature:
            nested = _difference(member.signature, other.signature, inner)
            if nested is not None:
                return nested
        elif not _same_shape(member.shape, other.shape):
            return f"{inner}: {member.shape!r} and {other.shape!r}"
    return None


def _same_shape(a: Any, b: Any) -> bool:
    """Layouts and enumerations are compared as such, everything else by width and sign."""
    if isinstance(a, ShapeCastable) or isinstance(b, ShapeCastable):
        return bool(a == b)
    return Shape.cast(a) == Shape.cast(b)


def _name(interface: Any) -> str:
    """The name of the first signal of an interface, without the member's part."""
    for path, _member, value in interface.signature.flatten(interface):
        name: str = Value.cast(value).name
        return name.removesuffix("__" + "__".join(str(part) for part in path))
    return type(interface).__name__


class StreamQueue(wiring.Component):
    """First-in-first-out queue in distributed memory.

    Latency 1 cycle, throughput 1 per cycle. ``o.payload`` is read without a register: it is
    meant for shallow queues (16 entries cost no more than 4) whose output goes to registers.

    Parameters
    ----------
    shape
        Payload.
    depth
        Entries.
    """

    def __init__(self, shape: Any, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"queue depth must be at least 1, not {depth}")
        self._depth = depth
        self._width = Shape.cast(shape).width
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFO(width=self._width, depth=self._depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
            self.level.eq(fifo.level),
        ]
        return m
