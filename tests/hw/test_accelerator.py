"""The whole accelerator with hand-made programs."""

from random import Random

from hw.config import PRESETS
from hw.isa import (
    SEMAPHORES,
    Counter,
    DmaTarget,
    Engine,
    Opcode,
    OutputKind,
    Register,
    Semaphore,
    Status,
    Trap,
    decode,
    encode,
)
from tests.hw.control.test_decoder import owner, plausible_word
from tests.hw.link.peers import simulate
from tests.hw.machine import Host, Machine, instruction, words_of

TINY = PRESETS["tiny"]
ROWS = TINY.array.rows
LANES = TINY.array.word_width
PIXELS = 5
DATA = 256
RESULT = 512
RESULT_WORD = 64
"""Activation word of the first logit."""
ITEM = 32 // LANES
"""Activation words per logit."""
LOADED, LOADED_POST = 1 << Semaphore.LOADED, 1 << Semaphore.LOADED_POST
READY, FILLED, RELEASED = 1 << Semaphore.READY, 1 << Semaphore.FILLED_0, 1 << Semaphore.RELEASED


class Layer:
    """A 1 x 1 convolution of ``PIXELS`` pixels with 8 binary channels and 4 outputs."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        self.activations = [rng.getrandbits(LANES) for _ in range(PIXELS)]
        self.weights = [rng.getrandbits(LANES) for _ in range(ROWS)]
        self.coefficients = [rng.randrange(-1000, 1000) for _ in range(ROWS)]
        self.biases = [rng.randrange(-5000, 5000) for _ in range(ROWS)]

    def logits(self) -> list[int]:
        values = []
        for word in self.activations:
            for row in range(ROWS):
                ones = (word & self.weights[row]).bit_count()
                dot = 2 * ones - word.bit_count()
                values.append((self.biases[row] + self.coefficients[row] * dot) & 0xFFFFFFFF)
        return values

    def memory(self) -> list[int]:
        """The external memory: program at 0, data from ``DATA`` on."""
        parameters = [part for bias in self.biases for part in (bias & 0xFFFFFFFF, 0, 0)]
        parts = {
            DmaTarget.ACTIVATIONS: (packed(self.activations), PIXELS),
            DmaTarget.WEIGHTS: (packed(self.weights), ROWS),
            DmaTarget.COEFFICIENTS: ([c & 0x3FFFF for c in self.coefficients], ROWS),
            DmaTarget.PARAMETERS: (parameters, 3 * ROWS),
            DmaTarget.WINDOWS: ([0 | 1 << 16, 0xFF], 1),
            DmaTarget.PASSES: ([0 | 1 << 16, 0], 1),
        }
        program, data = [], []
        for target, (words, count) in parts.items():
            program += instruction(
                Opcode.DMA, target=target, external=DATA + len(data), count=count
            )
            data += words
        program += compute_program()
        return program + [0] * (DATA - len(program)) + data


def packed(items: list[int]) -> list[int]:
    return [
        sum(item << (LANES * place) for place, item in enumerate(items[first : first + ITEM]))
        for first in range(0, len(items), ITEM)
    ]


def compute_program() -> list[int]:
    granules = 2 * ITEM * ROWS
    return [
        *instruction(Opcode.SYNC, engine=Engine.DMA, signal=LOADED | LOADED_POST | READY),
        *instruction(Opcode.FILL, layer=7, wait=READY, signal=FILLED, rows=1, words=PIXELS),
        *instruction(
            Opcode.COMPUTE,
            layer=7,
            wait=FILLED | LOADED,
            tiles=1,
            pixels=PIXELS,
            passes=1,
            inner_x=1,
            inner_y=1,
            outer_x=PIXELS,
            stride_outer_x=2,
        ),
        *instruction(
            Opcode.POST_CONFIG,
            layer=7,
            array=1,
            output=OutputKind.RAW,
            inner_x=1,
            inner_y=1,
            outer_x=PIXELS,
            code_outer_x=granules,
        ),
        *instruction(
            Opcode.POST,
            layer=7,
            wait=LOADED_POST,
            signal=RELEASED,
            tiles=1,
            vectors=PIXELS,
            code_base=2 * RESULT_WORD,
        ),
        *instruction(
            Opcode.DMA,
            layer=8,
            wait=RELEASED,
            store=1,
            target=DmaTarget.ACTIVATIONS,
            address=RESULT_WORD,
            external=RESULT,
            count=PIXELS * ROWS * ITEM,
        ),
        *instruction(Opcode.END),
    ]


async def run_layer(host: Host, layer: Layer) -> None:
    """Load, run and check."""
    await host.write(0, layer.memory())
    assert await host.run(0) == Status.DONE.value
    assert await host.read(RESULT, PIXELS * ROWS) == layer.logits()


def test_a_convolution_ends_with_its_logits_in_external_memory() -> None:
    dut = Machine(TINY, stall_seed=1)

    async def host_side(ctx):
        host = Host(ctx, dut.requests, dut.responses)
        for seed in range(2):
            await run_layer(host, Layer(seed))
        assert await host.read_register(Register.FINGERPRINT) == TINY.fingerprint
        counts = {
            counter: await host.read_register(Register.COUNTERS, counter.value)
            for counter in Counter
        }
        assert counts[Counter.ARRAY_BUSY] == -(-PIXELS // TINY.array.columns)
        busy = [count for counter, count in counts.items() if counter != Counter.TOTAL]
        assert 0 < max(busy) <= counts[Counter.TOTAL]

    simulate(dut, host_side, cycles_maximum=30_000)


def test_traps_stop_a_run_and_the_next_one_is_unharmed() -> None:
    dut = Machine(TINY)
    layer = Layer(5)
    start = 900
    outside = TINY.memory.external_words
    cases = [
        # Words of the program, cause, instruction that the host is told.
        ([0] * 8, Trap.ILLEGAL_INSTRUCTION, 0),
        (instruction(Opcode.SYNC)[:-1] + [1], Trap.ILLEGAL_INSTRUCTION, 0),
        (instruction(Opcode.DMA, target=7, count=1), Trap.ILLEGAL_INSTRUCTION, 0),
        (
            instruction(Opcode.SYNC)
            + instruction(Opcode.DMA, external=outside - 1, count=9)
            + instruction(Opcode.END),
            Trap.BAD_ADDRESS,
            1,
        ),
        (
            instruction(Opcode.DMA, address=TINY.memory.weight_words, count=1)
            + instruction(Opcode.END),
            Trap.BAD_ADDRESS,
            0,
        ),
        (
            instruction(Opcode.FILL, rows=2, words=TINY.memory.column_granules // 2)
            + instruction(Opcode.END),
            Trap.BAD_ADDRESS,
            0,
        ),
        # Waits for ever.
        (instruction(Opcode.SYNC, wait=1) + instruction(Opcode.END), Trap.WATCHDOG, 1),
    ]

    async def host_side(ctx):
        host = Host(ctx, dut.requests, dut.responses)
        await host.write_register(Register.WATCHDOG, 3000)
        for number, (words, cause, index) in enumerate(cases):
            await host.write(start, words)
            status = await host.run(start)
            assert status == Status.TRAPPED.value | cause.value << 8, f"case {number}"
            assert await host.read_register(Register.TRAP_ADDRESS) == start + 8 * index
        assert await host.run(outside - 4) == Status.TRAPPED.value | Trap.BAD_ADDRESS.value << 8
        await run_layer(host, layer)

    simulate(dut, host_side, cycles_maximum=50_000)


def test_reset_in_the_middle_of_a_run_leaves_the_accelerator_ready() -> None:
    dut = Machine(TINY, stall_seed=77)
    rng = Random(6)

    async def host_side(ctx):
        host = Host(ctx, dut.requests, dut.responses)
        await run_layer(host, Layer(6))
        for _ in range(12):
            await host.write_register(Register.START, 0)
            await ctx.tick().repeat(rng.randrange(1, 700))
            await host.write_register(Register.RESET, 1)
            assert not await host.read_register(Register.STATUS) & Status.BUSY.value
        # A start right behind a reset is not lost.
        await host.write_register(Register.START, 0)
        await host.write_register(Register.RESET, 1)
        assert await host.run(0) == Status.DONE.value
        assert await host.read(RESULT, PIXELS * ROWS) == Layer(6).logits()

    simulate(dut, host_side, cycles_maximum=50_000)


def test_a_start_during_a_run_is_ignored() -> None:
    dut = Machine(TINY)

    async def host_side(ctx):
        host = Host(ctx, dut.requests, dut.responses)
        layer = Layer(7)
        await host.write(0, layer.memory())
        await host.write_register(Register.START, 0)
        await host.write_register(Register.START, 1000)
        assert await host.read_register(Register.START) == 0
        while ctx.get(dut.accelerator.busy):
            await ctx.tick()
        assert await host.read_register(Register.STATUS) == Status.DONE.value
        assert await host.read(RESULT, PIXELS * ROWS) == layer.logits()

    simulate(dut, host_side, cycles_maximum=20_000)


def test_retired_instructions_carry_their_layer() -> None:
    dut = Machine(TINY)
    retired: dict[str, list[int]] = {engine.name.lower(): [] for engine in Engine}

    async def host_side(ctx):
        await run_layer(Host(ctx, dut.requests, dut.responses), Layer(8))

    def monitor(name: str):
        port = getattr(dut.accelerator.retired, name)

        async def testbench(ctx):
            async for _, _, valid, layer in ctx.tick().sample(port.valid, port.layer):
                if valid:
                    retired[name].append(layer)

        return testbench

    simulate(dut, host_side, background=[monitor(name) for name in retired], cycles_maximum=20_000)
    assert retired == {"dma": [0] * 7 + [8], "fill": [7], "compute": [7], "post": [7, 7]}


def shortened(word: int) -> int:
    """The instruction without long loops, so that a simulation meets many of them."""
    opcode, fields = decode(word)
    small = {"count": 0x3F, "top": 3, "bottom": 3, "rows": 3, "left": 3, "right": 3, "words": 0xF}
    small |= {"tiles": 1, "pixels": 0xF, "passes": 3, "vectors": 0xF}
    for name, mask in small.items():
        if name in fields:
            fields[name] &= mask
    return encode(opcode, fields)


def test_malformed_programs_end_and_a_good_one_runs_afterwards() -> None:
    seed = 21
    rng = Random(seed)
    dut = Machine(TINY)
    outcomes = {Status.DONE.value: 0, Status.TRAPPED.value: 0}
    start = 1024

    async def host_side(ctx):
        host = Host(ctx, dut.requests, dut.responses)
        memory = dut.external.memory.data

        async def run_random() -> None:
            program = [plausible_word(rng) for _ in range(rng.randrange(1, 8))]
            program = [shortened(word) if owner(word) else word for word in program]
            # Without waits they get further; the watchdog sees to the others.
            program = [word & ~((1 << SEMAPHORES) - 1 << 12) for word in program] + [
                encode(Opcode.END, {})
            ]
            for index, word in enumerate(program):
                for part, value in enumerate(words_of(word)):
                    ctx.set(memory[start + 8 * index + part], value)
            status = await host.run(start)
            outcomes[status & 0xFF] += 1

        for _ in range(8):
            await host.write_register(Register.WATCHDOG, 400)
            for _ in range(5):
                await run_random()
            await host.write_register(Register.WATCHDOG, 0)
            layer = Layer(rng.randrange(1000))
            for address, word in enumerate(layer.memory()):
                ctx.set(memory[address], word)
            assert await host.run(0) == Status.DONE.value, f"seed {seed}"
            for index, logit in enumerate(layer.logits()):
                assert ctx.get(memory[RESULT + index]) == logit, f"seed {seed}"

    simulate(dut, host_side, cycles_maximum=100_000)
    assert min(outcomes.values()) > 3, outcomes
