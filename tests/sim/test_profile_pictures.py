"""The pictures: every cause in its colour, every layer with its name, and labels apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from sim.attribution import MEANINGS, Cause
from sim.profile import Clock, LayerProfile, Profile
from sim.profile_pictures import COLOURS, draw_profile, draw_roofline, spread


def layer(name: str, causes: dict[Cause, int], *, macs: int = 1000, moved: int = 0) -> LayerProfile:
    cycles = sum(causes.values())
    return LayerProfile(
        name=name,
        shape=(4, 4, 8),
        widths="W2 A2",
        cycles=cycles,
        binary_macs=macs,
        utilization=macs / (100 * cycles),
        causes={cause.value: causes.get(cause, 0) for cause in MEANINGS},
        limit=max(causes, key=lambda cause: causes[cause]).value,
        semaphore_waits={},
        external_bytes=moved,
        instruction_bytes=32,
    )


LAYERS = [
    layer("first", {Cause.ARRAY: 300, Cause.MEMORY: 400}, macs=30_000, moved=4096),
    layer("second", {Cause.ARRAY: 500, Cause.DRAIN: 100}, macs=55_000),
    layer("third", {Cause.ARRAY: 500, Cause.FILL: 90}, macs=54_000),
    layer("pool", {Cause.OUTPUTS: 200}, macs=0),
]


def profile(layers: list[LayerProfile]) -> Profile:
    cycles = sum(layer.cycles for layer in layers)
    return Profile(
        model="net",
        preset="small",
        binary_macs_per_cycle=100,
        port_bytes_per_cycle=4,
        clock=Clock(mhz=50, is_routed=False, source="preset small"),
        cycles=cycles,
        images_per_second=1.0,
        utilization=0.5,
        causes={c.value: sum(layer.causes[c.value] for layer in layers) for c in MEANINGS},
        limit="array",
        counters={},
        layers=layers,
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: object, **options: object) -> None:
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_bars_are_the_cycles_by_cause_end_to_end(tmp_path: Path, drawn: list[Figure]) -> None:
    path = tmp_path / "profile.png"
    draw_profile(profile(LAYERS), path)
    assert [path.name for path in tmp_path.iterdir()] == ["profile.png"]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    (axes,) = drawn[0].axes
    used = [cause for cause in MEANINGS if any(layer.causes[cause] for layer in LAYERS)]
    lefts = [0] * len(LAYERS)
    for cause, bars in zip(used, axes.containers, strict=True):
        for index, bar in enumerate(bars):
            assert bar.get_x() == lefts[index]
            assert bar.get_width() == LAYERS[index].causes[cause]
            assert to_hex(bar.get_facecolor()) == COLOURS[cause]
            lefts[index] += bar.get_width()
    assert lefts == [layer.cycles for layer in LAYERS]


def test_profile_names_layers_causes_and_units(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_profile(profile(LAYERS), tmp_path / "profile.png")
    found = texts(drawn[0])
    assert {"first", "second", "third", "pool"} <= set(found)
    assert "700, array 43%" in found
    assert "net on small: 2,090 cycles per image, array busy in 62.2%" in found
    assert "cycles from the end of the layer before to the layer's own end" in found
    assert any(text.startswith("memory: ") and "(400)" in text for text in found)
    assert not any(text.startswith("fetch: ") for text in found)


def test_roofline_has_the_layers_at_their_places(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_roofline(profile(LAYERS), tmp_path / "roofline.png")
    (axes,) = drawn[0].axes
    moving, resident = (collection.get_offsets() for collection in axes.collections)
    assert np.allclose(moving, [[30_000 / 4096, 30_000 / 700]])
    right = axes.get_xlim()[1]
    assert np.allclose(resident, [[right, 55_000 / 600], [right, 54_000 / 590]])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    compute, memory = (line.get_xydata() for line in axes.lines)
    assert np.allclose(compute, [[25, 100], [right, 100]])
    assert np.allclose(memory[:, 1], 4 * memory[:, 0])
    assert np.allclose(memory[-1], [25, 100])


def test_roofline_notes_what_it_cannot_show(tmp_path: Path, drawn: list[Figure]) -> None:
    path = tmp_path / "roofline.png"
    first = replace(LAYERS[0], external_bytes=2800)  # as many as the port moves in 700 cycles
    draw_roofline(profile([first, *LAYERS[1:]]), path)
    draw_roofline(profile([replace(LAYERS[0], binary_macs=10**6)]), path)
    draw_roofline(profile([replace(first, external_bytes=2801)]), path)
    all_notes, other, ahead = ("\n".join(texts(figure)) for figure in drawn)
    assert "Right edge: 2 layers that move no data" in all_notes
    assert "Not shown: 1 layer without binary MACs" in all_notes
    assert "Above the roof" not in all_notes
    assert "Right edge" not in other
    assert "Not shown" not in other
    assert "Above the roof" in other
    assert "Above the roof" in ahead


def test_of_very_many_layers_the_longest_have_names(tmp_path: Path, drawn: list[Figure]) -> None:
    layers = [
        replace(LAYERS[index % 2], name=f"layer{index}", cycles=1000 + index) for index in range(70)
    ]
    draw_roofline(profile(layers), tmp_path / "roofline.png")
    found = texts(drawn[0])
    assert {text for text in found if text.startswith("layer")} == {
        f"layer{index}" for index in range(10, 70)
    }
    assert any("Named: the 60 layers of most cycles." in text for text in found)
    assert sum(len(points.get_offsets()) for points in drawn[0].axes[0].collections) == 70


def test_long_names_are_cut_in_the_middle(tmp_path: Path, drawn: list[Figure]) -> None:
    name = "norm_last" + ".part1" * 12 + ".identity"
    draw_roofline(profile([replace(LAYERS[0], name=name)]), tmp_path / "roofline.png")
    labels = [text for text in texts(drawn[0]) if text.startswith("norm_last")]
    assert labels == [f"{name[:20]}...{name[-20:]}"]


def test_labels_of_many_layers_do_not_overlap(tmp_path: Path, drawn: list[Figure]) -> None:
    layers = [replace(LAYERS[1], name=f"layer{index}") for index in range(60)]
    draw_roofline(profile(layers), tmp_path / "roofline.png")
    labels = [text for text in drawn[0].findobj(Text) if text.get_text().startswith("layer")]
    # Without the lines to the points.
    boxes = sorted((Text.get_window_extent(text) for text in labels), key=lambda box: box.y0)
    assert len(boxes) == 60
    assert all(upper.y0 >= lower.y1 for lower, upper in zip(boxes, boxes[1:], strict=False))


def test_same_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    for draw in (draw_profile, draw_roofline):
        for name in ("a.png", "b.png"):
            draw(profile(LAYERS), tmp_path / name)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


HEIGHTS = st.lists(st.floats(0, 1), max_size=10)


@given(HEIGHTS)
def test_spread_keeps_order_distance_and_bounds(heights: list[float]) -> None:
    moved = spread(heights, 0.1)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    gaps = [moved[b] - moved[a] for a, b in zip(order, order[1:], strict=False)]
    assert all(gap > 0.1 - 1e-9 for gap in gaps)
    assert all(-1e-9 < height < 1 + 1e-9 for height in moved)


@given(HEIGHTS)
def test_spread_leaves_what_is_apart(heights: list[float]) -> None:
    moved = spread(heights, 0.05)
    assert spread(moved, 0.04) == pytest.approx(moved)


def test_spread_moves_equals_evenly() -> None:
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread([1.0, 0.2, 1.0], 0.1) == pytest.approx([0.9, 0.2, 1.0])
