"""A profile as tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .attribution import MEANINGS, Cause
from .profile import LayerProfile, Profile, RtlRun
from .report import LAYER_WIDTH

__all__ = ["print_profile"]


def print_profile(profile: Profile, console: Console) -> None:
    """The layers, what the causes mean, the speed, and beside them what the RTL says."""
    console.print(_layer_table(profile))
    for cause, meaning in MEANINGS.items():
        if profile.causes[cause]:
            console.print(f"  {cause.value:<8} {meaning}", highlight=False)
    if profile.rtl is not None:
        console.print(_counter_table(profile.counters, profile.rtl))
    console.print(_speed(profile), highlight=False, markup=False)
    if profile.rtl is not None:
        console.print(_verdict(profile.rtl))


def _layer_table(profile: Profile) -> Table:
    table = Table(
        title=f"{profile.model} on {profile.preset}, cycle model",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    rtl = profile.rtl
    table.add_column("layer", no_wrap=True, max_width=LAYER_WIDTH)
    table.add_column("cycles", justify="right", no_wrap=True)
    if rtl is not None:
        table.add_column("RTL", justify="right", no_wrap=True)
    for title in ("used", "array"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("limit", no_wrap=True)
    table.add_column("cycles without a word in the array")
    for index, layer in enumerate(profile.layers):
        table.add_row(*_row(layer.name, layer, layer.cycles, _rtl_cycles(rtl, index)))
    table.add_section()
    measured = None if rtl is None else rtl.cycles
    table.add_row(*_row("total", profile, profile.cycles, measured))
    return table


def _rtl_cycles(rtl: RtlRun | None, index: int) -> int | None:
    return None if rtl is None else rtl.layer_cycles[index]


def _row(
    name: str, entry: LayerProfile | Profile, cycles: int, measured: int | None
) -> list[str | Text]:
    row: list[str | Text] = [name, f"{cycles:,}"]
    if measured is not None:
        row.append(_beside(cycles, measured))
    idle = sorted(
        ((count, cause) for cause, count in entry.causes.items() if count and cause != Cause.ARRAY),
        key=lambda pair: -pair[0],
    )
    return [
        *row,
        f"{entry.utilization:.1%}",
        f"{entry.array_share:.1%}",
        entry.limit,
        ", ".join(f"{cause} {count:,}" for count, cause in idle),
    ]


def _beside(predicted: int, measured: int) -> Text:
    return Text(f"{measured:,}", style="green" if measured == predicted else "bold red")


def _counter_table(predicted: dict[str, int], rtl: RtlRun) -> Table:
    table = Table(title="performance counters", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("counter", no_wrap=True)
    for title in ("cycles", "RTL"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, count in predicted.items():
        measured = rtl.counters.get(name)
        table.add_row(name, f"{count:,}", "none" if measured is None else _beside(count, measured))
    return table


def _speed(profile: Profile) -> str:
    clock = profile.clock
    of_batch = f" ({profile.cycles:,} for {profile.batch})" if profile.batch > 1 else ""
    return (
        f"{profile.cycles_per_image:,} cycles per image{of_batch}: "
        f"{profile.images_per_second:,.1f} images/s at {clock.mhz:g} MHz "
        f"({clock.kind}: {clock.source}), without the transfer of images"
    )


def _verdict(rtl: RtlRun) -> Text:
    if rtl.difference is None:
        return Text(
            f"EQUAL: cycles of all layers and all counters, {rtl.images} image(s), {rtl.simulator}",
            style="bold green",
        )
    return Text(f"DIFFERS: {rtl.difference}", style="bold red")
