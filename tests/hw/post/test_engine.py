"""Post engine against the integer model, in random configurations."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from hw.config import PRESETS, AcceleratorConfig
from hw.isa import INSTRUCTION_FIELDS, Opcode, OutputKind, PoolOperation, ResidualMode, encode
from hw.post.engine import PostEngine
from tests.hw.post.bench import Recording, run_engine
from tests.hw.post.model import PostModel

TINY = PRESETS["tiny"]
SMALL_MEMORIES = replace(TINY.memory, parameter_words=256, stream_vectors=256, threshold_groups=16)
CONFIGS = {
    "4 rows": replace(TINY, memory=SMALL_MEMORIES),
    "8 rows, 2 comparators": replace(
        TINY,
        array=replace(TINY.array, rows=8),
        memory=SMALL_MEMORIES,
        datapath=replace(TINY.datapath, comparators=2),
    ),
    "16 rows": replace(TINY, array=replace(TINY.array, rows=16), memory=SMALL_MEMORIES),
}
KINDS = tuple(OutputKind)


def settings(**fields: int) -> dict[str, int]:
    """POST_CONFIG fields: those given, and for the others what does least."""
    values = {field.name: 0 for field in INSTRUCTION_FIELDS[Opcode.POST_CONFIG]}
    quiet = {"array": 1, "output_bits": 1, "planes": 1, "threshold_groups": 1}
    counts = {"inner_x": 1, "inner_y": 1, "outer_x": 1}
    return {**values, **quiet, **counts, **fields}


def post(**fields: int) -> dict[str, int]:
    values = {field.name: 0 for field in INSTRUCTION_FIELDS[Opcode.POST]}
    return {**values, "tiles": 1, "layer": 1, **fields}


def number(source: random.Random, bits: int) -> int:
    """Signed number of at most ``bits`` bits: extremes, small and evenly spread magnitudes."""
    top = 1 << (bits - 1)
    width = source.randint(1, bits - 1)
    return source.choice(
        (
            -top,
            top - 1,
            0,
            source.randint(-top, top - 1),
            source.randint(-(1 << width), 1 << width) % top,
        )
    )


class Scenario:
    """Random tables, commands and vectors for one configuration of the engine."""

    def __init__(self, config: AcceleratorConfig, source: random.Random) -> None:
        self.config = config
        self.source = source
        memory = config.memory
        self.model = PostModel(config)
        self.model.parameters = [
            number(source, source.choice((8, 18, 32))) % (1 << 32)
            for _ in range(memory.parameter_words)
        ]
        self.commands: list[int] = []
        self.vectors: list[list[int]] = []
        self.expected_counts: list[tuple[int, int, int]] = []

    def random_settings(self, kind: OutputKind) -> dict[str, int]:
        source = self.source
        residual = source.choice(tuple(ResidualMode))
        pool = source.choice(tuple(PoolOperation))
        groups = source.choice((1, 1, 2, 3, self.config.memory.threshold_groups))
        windows = residual is ResidualMode.SUM or pool is not PoolOperation.NONE
        inner = (source.randint(1, 3), source.randint(1, 3)) if windows else (1, 1)
        return settings(
            array=source.randint(0, 3) > 0,
            residual=residual,
            residual_shift=source.choice((0, 1, 4, 9, 16, source.randint(0, 31))),
            relu_stream=source.randint(0, 1),
            store_stream=source.randint(0, 1),
            stream_shift=source.choice((0, 1, 8, 15, source.randint(0, 31))),
            affine=source.randint(0, 1),
            relu=source.randint(0, 1),
            pool=pool,
            output=kind,
            output_shift=source.choice((0, 1, source.randint(0, 31))),
            output_bits=source.randint(1, 16),
            planes=source.choice((1, 2, 3, source.randint(1, 16))),
            threshold_base=source.randrange(self.config.memory.threshold_groups),
            threshold_groups=groups,
            code_initial=source.getrandbits(16),
            inner_x=inner[0],
            inner_y=inner[1],
            outer_x=source.randint(1, 4),
            residual_inner_x=source.randint(0, 9),
            residual_inner_y=source.randint(0, 9),
            residual_outer_x=source.randint(0, 9),
            residual_outer_y=source.randint(0, 9),
            stream_outer_x=source.randint(0, 9),
            stream_outer_y=source.randint(0, 9),
            code_tile=source.randint(0, 63),
            code_outer_x=source.randint(0, 99),
            code_outer_y=source.randint(0, 4000),
        )

    def add_config(self, fields: dict[str, int]) -> None:
        self._add(encode(Opcode.POST_CONFIG, fields), [])

    def add_post(self, fields: dict[str, int], vectors: list[list[int]] | None = None) -> None:
        """A command and its accumulators, random ones if ``vectors`` is not given."""
        current = self.model.settings
        window = current["inner_x"] * current["inner_y"]
        if current["residual"] == ResidualMode.SUM.value:
            count = -(-fields["vectors"] // window)
        else:
            count = fields["vectors"]
        bits = self.source.choice((12, 20, 32))
        needed = fields["tiles"] * count if current["array"] else 0
        if vectors is None:
            vectors = [
                [number(self.source, bits) for _ in range(self.config.array.rows)]
                for _ in range(needed)
            ]
        self._add(encode(Opcode.POST, fields), vectors)

    def random_post(self) -> dict[str, int]:
        source, current, memory = self.source, self.model.settings, self.config.memory
        half = memory.stream_vectors // 2
        window = current["inner_x"] * current["inner_y"]
        return post(
            layer=source.getrandbits(8),
            tiles=source.randint(1, 3),
            vectors=window * source.randint(1, 7),
            parameter_base=source.randrange(memory.parameter_words),
            residual_base=source.randrange(half // 4),
            stream_base=half + source.randrange(half // 4),
            code_base=source.randrange(memory.activation_words),
        )

    def choose_thresholds(self) -> None:
        """Thresholds for all groups, ascending."""
        size = self.config.memory.threshold_groups * self.config.datapath.comparators
        chosen = sorted(number(self.source, 20) for _ in range(size))
        self.model.thresholds = self.grouped(chosen)

    def grouped(self, thresholds: list[int]) -> list[list[tuple[int, int]]]:
        step = self.config.datapath.comparators
        entries = [(threshold, self.source.getrandbits(16)) for threshold in thresholds]
        return [entries[k : k + step] for k in range(0, len(entries), step)]

    def _add(self, word: int, new: list[list[int]]) -> None:
        supply = iter(new)
        self.model.execute(word, supply)
        assert next(supply, None) is None, "the model must take all vectors"
        self.commands.append(word)
        self.vectors += new
        model = self.model
        self.expected_counts.append(
            (len(model.accumulator_trace), len(model.stream_trace), len(model.activation_trace))
        )

    def check(self, stall: float) -> Recording:
        model = self.model
        recording = run_engine(
            self.config,
            parameters=model.parameters,
            thresholds=model.thresholds,
            commands=self.commands,
            vectors=self.vectors,
            stall=stall,
            seed=self.source.getrandbits(32),
        )
        assert recording.accumulators == model.accumulator_trace
        assert recording.streams == model.stream_trace
        assert recording.activations == model.activation_trace
        assert recording.counts_at_done == self.expected_counts
        return recording


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(2))
def test_random_commands_match_model(name: str, kind: OutputKind, seed: int) -> None:
    config = CONFIGS[name]
    source = random.Random(f"{name} {kind.name} {seed}")
    scenario = Scenario(config, source)
    scenario.choose_thresholds()
    for _ in range(4):
        scenario.add_config(scenario.random_settings(kind))
        for _ in range(source.randint(1, 2)):
            scenario.add_post(scenario.random_post())
    scenario.check(stall=source.choice((0.0, 0.3, 0.8)))


def scenario_of(
    fields: dict[str, int], *posts: dict[str, int], config: AcceleratorConfig = CONFIGS["4 rows"]
) -> Scenario:
    scenario = Scenario(config, random.Random(str(fields)))
    scenario.choose_thresholds()
    scenario.add_config(fields)
    for fields in posts:
        scenario.add_post(fields)
    return scenario


def gaps(cycles: list[int]) -> set[int]:
    return {after - before for before, after in pairwise(cycles)}


QUANTIZED = settings(
    residual=ResidualMode.ADD,
    residual_outer_x=1,
    residual_outer_y=8,
    relu_stream=1,
    store_stream=1,
    stream_shift=4,
    stream_outer_x=1,
    stream_outer_y=8,
    affine=1,
    output=OutputKind.CODES,
    planes=2,
    outer_x=8,
    code_tile=2,
    code_outer_x=4,
    code_outer_y=32,
)
"""Two planes with a residual that is updated in place."""


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("residual", [ResidualMode.NONE, ResidualMode.ADD])
def test_two_plane_layers_take_a_vector_per_cycle(planes: int, residual: ResidualMode) -> None:
    fields = QUANTIZED | {"planes": planes, "residual": residual}
    recording = scenario_of(fields, post(vectors=64)).check(stall=0.0)
    assert gaps(recording.accepted) == {1}
    assert gaps(recording.written) == {1}


def test_change_of_tile_costs_nothing_behind_a_long_tile() -> None:
    config = CONFIGS["4 rows"]
    vectors = PostEngine.tile_cycles(config)
    recording = scenario_of(QUANTIZED, post(tiles=3, vectors=vectors)).check(stall=0.0)
    assert gaps(recording.accepted) == {1}
    shorter = scenario_of(QUANTIZED, post(tiles=3, vectors=vectors - 1)).check(stall=0.0)
    assert gaps(shorter.accepted) == {1, 2}


@pytest.mark.parametrize(
    ("fields", "pace"),
    [
        ({"planes": 3}, 2),
        ({"planes": 16}, 8),
        ({"threshold_groups": 5}, 5),
        ({"threshold_groups": 16, "planes": 5}, 16),
        ({"output": OutputKind.FIXED, "planes": 8, "output_bits": 8}, 16),
        ({"output": OutputKind.RAW}, 16),
    ],
    ids=str,
)
def test_slow_outputs_set_the_pace(fields: dict[str, int], pace: int) -> None:
    quiet = QUANTIZED | {"code_outer_x": 32, "code_outer_y": 256}
    recording = scenario_of(quiet | fields, post(vectors=12)).check(stall=0.0)
    assert gaps(recording.accepted) == {pace}


def test_only_outputs_of_a_pool_are_paced() -> None:
    pool = {"pool": PoolOperation.MAXIMUM, "inner_x": 2, "inner_y": 2, "store_stream": 0}
    fields = QUANTIZED | pool
    recording = scenario_of(fields | {"planes": 6}, post(vectors=32)).check(stall=0.0)
    assert gaps(recording.accepted) == {1}


def test_summed_residual_takes_a_stream_vector_per_cycle() -> None:
    fields = QUANTIZED | {"residual": ResidualMode.SUM, "inner_x": 2, "inner_y": 2}
    recording = scenario_of(fields, post(vectors=32)).check(stall=0.0)
    assert gaps(recording.accepted) == {4}


@pytest.mark.parametrize("affine", [0, 1])
def test_latency_from_vector_to_word_is_the_sum_of_the_blocks(affine: int) -> None:
    recording = scenario_of(QUANTIZED | {"affine": affine}, post(vectors=16)).check(stall=0.0)
    assert recording.written[0] - recording.accepted[0] == PostEngine.latency(affine=bool(affine))
    assert recording.done[-1] - recording.written[-1] == PostEngine.DONE_LATENCY


def test_parameters_of_the_next_command_are_fetched_during_the_current_one() -> None:
    command = post(vectors=40)
    recording = scenario_of(QUANTIZED, command, command, command).check(stall=0.0)
    # From one command to the next: its pipeline runs empty, then the next one starts.
    bubble = PostEngine.latency(affine=True) + PostEngine.DONE_LATENCY + 2
    starts = recording.accepted[40::40]
    assert [start - recording.accepted[39 + 40 * k] for k, start in enumerate(starts)] == [
        bubble
    ] * 2


@pytest.mark.parametrize("planes", [1, 2, 3, 8])
def test_codes_at_ties_of_every_bit_width(planes: int) -> None:
    """2**planes levels; values at each threshold, one below and one above."""
    config = replace(TINY, memory=replace(SMALL_MEMORIES, threshold_groups=128))
    source = random.Random(planes)
    scenario = Scenario(config, source)
    step = config.datapath.comparators
    levels = (1 << planes) - 1
    thresholds = sorted(source.sample(range(-3000, 3000), levels))
    groups = -(-levels // step)
    thresholds += [(1 << 31) - 1] * (groups * step - levels)
    scenario.model.thresholds = scenario.grouped(thresholds)
    scenario.model.parameters = [0] * len(scenario.model.parameters)
    scenario.add_config(
        settings(output=OutputKind.CODES, planes=planes, threshold_groups=groups, outer_x=64)
    )
    near = [threshold + shift for threshold in thresholds[:levels] for shift in (-1, 0, 1)]
    near += [0] * (-len(near) % config.array.rows)
    vectors = [near[k : k + config.array.rows] for k in range(0, len(near), config.array.rows)]
    scenario.add_post(post(vectors=len(vectors)), vectors)
    scenario.check(stall=0.0)


def test_engine_is_idle_after_reset() -> None:
    assert run_engine(
        CONFIGS["4 rows"], parameters=[], thresholds=[], commands=[], vectors=[]
    ) == Recording(done=[])
