"""The roofline of a profile as a table: what each layer reaches, and which roof is above it.

S. Williams et al., Roofline: an insightful visual performance model, CACM 52(4), 2009: a layer does
at most min(array, intensity x port) binary multiply-accumulates (MACs) per cycle, its intensity
being the MACs for each byte that it moves over the external memory port.
"""

from __future__ import annotations

from dataclasses import dataclass

from .profile import Profile

__all__ = ["Roofline", "roofline_markdown", "rooflines"]

ARRAY, PORT = "array", "memory port"
HEADINGS = (
    *("layer", "bits", "cycles", "binary MACs", "bytes moved", "MACs per byte"),
    *("MACs per cycle", "array roof", "memory roof", "of the lower roof", "lower roof"),
    "most cycles",
)
NOTE = (
    "Bytes are those of DMA commands, without instructions. A layer's cycles run from the end of "
    "the layer before to its own; work done ahead of that counts there, so a layer can be above a "
    "roof. The last column is the cause of most of its cycles (docs/profile.md)."
)


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """One layer, or the whole network, below its roofs."""

    name: str
    widths: str
    """Weight and activation bits: "W2 A2"."""
    cycles: int
    binary_macs: int
    external_bytes: int
    """What DMA commands move."""
    array_roof: int
    """Binary MACs per cycle of a full array."""
    memory_roof: float | None
    """Binary MACs per cycle that the port's bytes per cycle allow; None: nothing is moved."""
    cause: str
    """Of most cycles: :class:`sim.attribution.Cause`."""

    @property
    def rate(self) -> float:
        """Binary MACs per cycle that are reached."""
        return self.binary_macs / self.cycles if self.cycles else 0.0

    @property
    def intensity(self) -> float | None:
        """Binary MACs per byte; None: nothing is moved."""
        return self.binary_macs / self.external_bytes if self.external_bytes else None

    @property
    def roof(self) -> float:
        """The lower one."""
        if self.memory_roof is None:
            return self.array_roof
        return min(self.array_roof, self.memory_roof)

    @property
    def limit(self) -> str:
        """Which roof is the lower one."""
        return ARRAY if self.roof == self.array_roof else PORT

    @property
    def reached(self) -> float | None:
        """Share of the lower roof; None for layers without MACs."""
        return self.rate / self.roof if self.roof else None


def rooflines(profile: Profile) -> list[Roofline]:
    """One entry for each layer, in order, and one for the network."""
    layers = profile.layers
    macs = sum(layer.binary_macs for layer in layers)
    moved = sum(layer.external_bytes for layer in layers)
    return [
        *(
            Roofline(
                name=layer.name,
                widths=layer.widths,
                cycles=layer.cycles,
                binary_macs=layer.binary_macs,
                external_bytes=layer.external_bytes,
                array_roof=profile.binary_macs_per_cycle,
                memory_roof=_memory_roof(profile, layer.binary_macs, layer.external_bytes),
                cause=layer.limit,
            )
            for layer in layers
        ),
        Roofline(
            name="total",
            widths="",
            cycles=profile.cycles,
            binary_macs=macs,
            external_bytes=moved,
            array_roof=profile.binary_macs_per_cycle,
            memory_roof=_memory_roof(profile, macs, moved),
            cause=profile.limit,
        ),
    ]


def _memory_roof(profile: Profile, macs: int, moved: int) -> float | None:
    return macs / moved * profile.port_bytes_per_cycle if moved else None


def roofline_markdown(profile: Profile) -> str:
    """The table as a Markdown document."""
    lines = [
        f"# Roofline of {profile.model} on {profile.preset}",
        "",
        f"Array: {profile.binary_macs_per_cycle:,} binary MACs per cycle.",
        f"Memory port: {profile.port_bytes_per_cycle} bytes per cycle.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "---:|" * (len(HEADINGS) - 4) + "---|---|",
        *("| " + " | ".join(_cells(entry)) + " |" for entry in rooflines(profile)),
        "",
        NOTE,
    ]
    return "\n".join(lines) + "\n"


def _cells(entry: Roofline) -> list[str]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        entry.name,
        entry.widths,
        f"{entry.cycles:,}",
        f"{entry.binary_macs:,}",
        f"{entry.external_bytes:,}",
        number(entry.intensity, ",.1f"),
        f"{entry.rate:,.0f}",
        f"{entry.array_roof:,}",
        number(entry.memory_roof, ",.0f"),
        number(entry.reached, ".1%"),
        entry.limit if entry.binary_macs else "",
        entry.cause,
    ]
