"""Tensors are put together from trace lines and compared, without a simulator."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.program import LayerInfo
from hw.config import PRESETS, AcceleratorConfig
from hw.isa import Engine
from sim.check import ACCUMULATORS, LayerCheck, check_layer, check_logits
from sim.job import ACCUMULATOR_SUFFIX
from sim.trace import Geometry, Trace, TraceError, layer_cycles, parse_trace
from tests.sim.replay import ACCUMULATOR, ACTIVATION, END, RECORDS_OFFSET, RETIRED, STREAM
from tests.sim.standin import ENTRY, StandIn, stand_in

START = 50
"""Cycle at which the run of the written trace starts; each event takes one more."""


def geometry(config: AcceleratorConfig) -> Geometry:
    return Geometry(
        rows=config.array.rows,
        activation_words=config.memory.activation_words,
        stream_vectors=config.memory.stream_vectors,
        stream_width=config.datapath.stream_width,
    )


def digits(values: int) -> int:
    return -(-(values - 1).bit_length() // 4)


def trace_lines(config: AcceleratorConfig, stand: StandIn) -> list[str]:
    """The trace file that the stand-in accelerator would leave, from its records."""
    rows, memory = config.array.rows, config.memory
    stream_digits = -(-config.datapath.stream_width * rows // 4)
    words = stand.program.memory[ENTRY + RECORDS_OFFSET :].tolist()
    lines = [f"b{START:010x}1"]
    for position in range(0, len(words), rows + 1):
        header, body = words[position], words[position + 1 : position + 1 + rows]
        kind, layer, enable = header & 15, header >> 4 & 255, header >> 12 & 3
        address, data = header >> 16, sum(word << 32 * i for i, word in enumerate(body))
        cycle = f"{START + len(lines):010x}{layer:02x}"
        if kind == END:
            lines.append(f"b{START + len(lines):010x}0")
            return lines
        if kind == ACCUMULATOR:
            lines.append(f"a{cycle}{data:0{8 * rows}x}")
        elif kind == STREAM:
            lines.append(
                f"s{cycle}{address:0{digits(memory.stream_vectors)}x}{data:0{stream_digits}x}"
            )
        elif kind == ACTIVATION:
            place = f"{enable}{address:0{digits(memory.activation_words)}x}"
            lines.append(f"w{cycle}{place}{data:0{rows // 2}x}")
        elif kind == RETIRED:
            lines.append(f"r{cycle[:10]}{enable}{layer:02x}")
    raise AssertionError("records must end")


def parse(config: AcceleratorConfig, lines: list[str]) -> Trace:
    return parse_trace("".join(line + "\n" for line in lines).encode(), geometry(config))


def check(config: AcceleratorConfig, stand: StandIn, lines: list[str]) -> list[LayerCheck]:
    trace = parse(config, lines)
    return [
        check_layer(
            stand.program,
            layer,
            trace,
            geometry(config),
            stand.expected,
            stand.expected[layer.name + ACCUMULATOR_SUFFIX],
        )
        for layer in stand.program.layers
    ]


@pytest.mark.parametrize("name", ["tiny", "ulx3s-12f", "ulx3s-85f"])
@pytest.mark.parametrize("seed", range(3))
def test_complete_trace_equals_the_expected_tensors(name: str, seed: int) -> None:
    config = PRESETS[name]
    stand = stand_in(config, seed)
    checks = check(config, stand, trace_lines(config, stand))
    assert [(c.name, c.values_mismatched, c.first) for c in checks] == [
        ("first", 0, None),
        ("second", 0, None),
    ]
    values = sum(array.size for array in stand.expected.values())
    assert sum(c.values_compared for c in checks) == values


@pytest.mark.parametrize("tensor", ["codes", "residual", "scores"])
def test_first_mismatch_names_the_element(tensor: str) -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    place = tuple(size - 1 for size in stand.expected[tensor].shape)
    right = int(stand.expected[tensor][place])
    stand.expected[tensor][place] ^= 1
    first = next(c.first for c in check(config, stand, trace_lines(config, stand)) if c.first)
    assert (first.tensor, first.y, first.x, first.channel) == (tensor, *place)
    assert (first.expected, first.got) == (right ^ 1, right)
    assert first.cycle is not None
    assert f"channel {place[2]}, pixel (y {place[0]}, x {place[1]}): expected {right ^ 1}" in str(
        first
    )


def test_wrong_accumulator_is_found() -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    stand.expected["first" + ACCUMULATOR_SUFFIX][2, 3, 5] += 1
    first = check(config, stand, trace_lines(config, stand))[0].first
    assert first is not None
    assert (first.tensor, first.y, first.x, first.channel) == (ACCUMULATORS, 2, 3, 5)


@pytest.mark.parametrize("letter", ["a", "s", "w"])
def test_every_missing_event_is_a_mismatch(letter: str) -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    lines = trace_lines(config, stand)
    first_layer = "01"  # the second has lanes without a channel
    events = [
        index
        for index, line in enumerate(lines)
        if line[0] == letter and line[11:13] == first_layer
    ]
    for index in events:
        checks = check(config, stand, lines[:index] + lines[index + 1 :])
        assert sum(c.values_mismatched for c in checks) > 0, f"without line {index}"
    none = [line for line in lines if line[0] != letter]
    first = next(c.first for c in check(config, stand, none) if c.first)
    assert first.got is None
    assert "never written" in str(first)


@pytest.mark.parametrize("letter", ["a", "s", "w"])
def test_unknown_digit_is_a_mismatch(letter: str) -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    lines = trace_lines(config, stand)
    index = next(index for index, line in enumerate(lines) if line[0] == letter)
    lines[index] = lines[index][:-1] + "x"
    first = next(c.first for c in check(config, stand, lines) if c.first)
    assert first.got is None
    assert first.cycle == index


def test_later_write_of_the_same_layer_counts() -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    lines = trace_lines(config, stand)
    index = next(index for index, line in enumerate(lines) if line[0] == "s")
    lane = -5  # bit 2 of this digit is bit 18: the lowest of lane 1; lane 0 holds no channel
    digit = format(int(lines[index][lane], 16) ^ 4, "x")
    wrong = lines[index][:lane] + digit + lines[index][lane + 1 :]
    before = lines[:index] + [wrong] + lines[index:]
    assert sum(c.values_mismatched for c in check(config, stand, before)) == 0
    after = lines[: index + 1] + [wrong] + lines[index + 1 :]
    assert sum(c.values_mismatched for c in check(config, stand, after)) == 1


def test_logits_are_compared_and_missing_ones_differ() -> None:
    stand = stand_in(PRESETS["tiny"])
    logits = stand.expected["scores"].ravel().tolist()
    assert check_logits(stand.program, logits, stand.expected).values_mismatched == 0
    assert check_logits(stand.program, [], stand.expected).values_mismatched == len(logits)
    logits[1] += 1
    result = check_logits(stand.program, logits, stand.expected)
    assert result.values_mismatched == 1
    assert result.first is not None
    assert (result.first.channel, result.first.got) == (1, logits[1])


def test_layer_cycles_add_up_to_the_run() -> None:
    config = PRESETS["tiny"]
    stand = stand_in(config)
    lines = trace_lines(config, stand)
    trace = parse(config, lines)
    retired = [index for index, line in enumerate(lines) if line[0] == "r"]
    assert layer_cycles(trace, [1, 2]) == [retired[-2], len(lines) - 1 - retired[-2]]
    assert trace.stop - trace.start == len(lines) - 1
    assert sum(layer_cycles(trace, [1, 2, 3])) == trace.stop - trace.start


def test_only_the_post_engine_ends_a_layer() -> None:
    lines = [f"b{10:010x}1", f"r{20:010x}{Engine.POST.value}01", f"r{90:010x}{Engine.DMA.value}01"]
    lines += [f"r{120:010x}{Engine.POST.value}02", f"b{130:010x}0"]
    assert layer_cycles(parse(PRESETS["tiny"], lines), [1, 2]) == [10, 110]


def test_run_that_has_not_stopped_ends_with_its_last_event() -> None:
    trace = parse(PRESETS["tiny"], [f"b{10:010x}1", f"r{25:010x}301"])
    assert (trace.start, trace.stop) == (10, 25)


@pytest.mark.parametrize("line", ["q0000000000", "w00000000000", "a12\na123"])
def test_malformed_trace_is_refused(line: str) -> None:
    with pytest.raises(TraceError, match="trace line"):
        parse(PRESETS["tiny"], [line])


def test_pooled_rows_that_no_window_takes_are_not_needed() -> None:
    import dataclasses

    config = PRESETS["tiny"]
    stand = stand_in(config)
    layer = stand.program.layers[0]
    height, width, channels = layer.convolution_shape
    taller: LayerInfo = dataclasses.replace(layer, convolution_shape=(height + 1, width, channels))
    accumulators = stand.expected[layer.name + ACCUMULATOR_SUFFIX]
    padded = np.concatenate([accumulators, np.ones((1, width, channels), np.int64)])
    trace = parse(config, trace_lines(config, stand))
    result = check_layer(stand.program, taller, trace, geometry(config), stand.expected, padded)
    assert result.values_mismatched == 0
    assert result.values_compared == 3 * accumulators.size
