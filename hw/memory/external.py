"""External memory made of block RAM: for small boards and for simulation."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hw.payloads import MemoryPortSignature
from hw.stream import StreamQueue

__all__ = ["PRELOADED", "BlockExternalMemory", "is_preloaded", "word_ports"]

ADDRESS_WIDTH = 24
LENGTH_WIDTH = 20
BLOCK_WORDS = 1 << 16
"""More words than block RAM can ever hold."""
QUEUE_WORDS = 4
"""Words that were read and wait for the reader; three keep the block RAM busy."""
PRELOADED = "preloaded_memory"
"""Verilog module of larger memories, in the file of that name."""


def is_preloaded(words: int) -> bool:
    """Whether a memory of that size is for simulation only, and starts with a file's contents."""
    return words > BLOCK_WORDS


def word_ports(
    m: Module, storage: memory.Memory | None, words: int
) -> tuple[memory.WritePort, memory.ReadPort]:
    """A port to write and one to read 32-bit words of ``storage``, or of the module in Verilog."""
    if storage is not None:
        m.submodules.memory = storage
        return storage.write_port(), storage.read_port()
    shapes = {"addr_width": ADDRESS_WIDTH, "shape": unsigned(32)}
    write = memory.WritePort.Signature(**shapes).create()
    read = memory.ReadPort.Signature(**shapes).create()
    m.submodules.memory = Instance(
        PRELOADED,
        p_WORDS=words,
        i_clk=ClockSignal(),
        i_read_address=read.addr,
        i_read_enable=read.en,
        o_read_data=read.data,
        i_write_address=write.addr,
        i_write_enable=write.en,
        i_write_data=write.data,
    )
    return write, read


class BlockExternalMemory(wiring.Component):
    """One burst at a time, one word per cycle, from block RAM.

    The first word of a read burst is offered ``latency`` + 4 cycles after its request was taken,
    the others follow in every cycle in which the reader is ready. The next request may be taken
    while the last words are under way. Reads beyond the last word give zero, writes there are
    dropped; each such word gives a pulse on ``out_of_range``.

    Amaranth states the contents of a memory bit by bit. Where no block RAM could hold them anyhow
    (:func:`is_preloaded`), the storage is a module in Verilog.

    Parameters
    ----------
    words
        Size in 32-bit words.
    latency
        Cycles from a request to the first word, on top of the memory's own.
    stall_seed
        Simulation only: not None inserts pseudo-random stalls in requests and data, in about
        half of the cycles, from a 16-bit shift register with this start value.
    init
        Contents at the start.
    """

    #: The port, from the requester's viewpoint flipped.
    port: In(MemoryPortSignature())
    #: One cycle for each word that lies beyond the memory.
    out_of_range: Out(1)

    def __init__(
        self,
        words: int,
        *,
        latency: int = 0,
        stall_seed: int | None = None,
        init: list[int] | None = None,
    ) -> None:
        if not 1 <= words <= 1 << ADDRESS_WIDTH:
            raise ValueError(
                f"external memory words must be 1 to {1 << ADDRESS_WIDTH}, not {words}"
            )
        if latency < 0:
            raise ValueError(f"external memory latency must not be negative, not {latency}")
        if stall_seed is not None and not 1 <= stall_seed < 1 << 16:
            raise ValueError(f"external memory stall_seed must be 1 to 65535, not {stall_seed}")
        self._words = words
        self._latency = latency
        self._stall_seed = stall_seed
        if init and is_preloaded(words):
            raise ValueError(f"external memory init must be empty for {words} words")
        #: Contents; a testbench may look at ``data``. None in a module in Verilog.
        self.memory: memory.Memory | None = None
        if not is_preloaded(words):
            self.memory = memory.Memory(shape=unsigned(32), depth=words, init=init or [])
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        write, read = word_ports(m, self.memory, self._words)
        address = Signal(ADDRESS_WIDTH)
        left = Signal(LENGTH_WIDTH)
        wait = Signal(range(self._latency + 1))
        inside = Signal()
        issue = Signal()
        go = self._stall(m)
        port = self.port
        can_issue = self._read_pipeline(m, read, address, issue & inside, issue, go)

        m.d.comb += [
            inside.eq(address < self._words),
            write.addr.eq(address),
            write.data.eq(port.write_data.payload),
        ]

        def step(done: str) -> None:
            m.d.comb += self.out_of_range.eq(~inside)
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.next = done

        with m.FSM():
            with m.State("IDLE"):
                request = port.requests.payload
                m.d.comb += port.requests.ready.eq(go)
                m.d.sync += [
                    address.eq(request.address),
                    left.eq(request.length),
                    wait.eq(self._latency),
                ]
                with m.If(port.requests.valid & go):
                    with m.If(request.write):
                        m.next = "WRITE"
                    with m.Else():
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += issue.eq(can_issue)
                with m.If(can_issue):
                    step("IDLE")
            with m.State("WRITE"):
                m.d.comb += port.write_data.ready.eq(go)
                with m.If(port.write_data.valid & go):
                    m.d.comb += write.en.eq(inside)
                    step("IDLE")
        return m

    def _read_pipeline(
        self,
        m: Module,
        read: memory.ReadPort,
        address: Signal,
        enable: Value,
        issue: Value,
        go: Value,
    ) -> Value:
        """Block RAM and the queue behind it; returns whether a word may be issued.

        The reader's ``ready`` comes late and ends at the queue: whether the block RAMs, which lie
        far apart, read another word depends on registers alone.
        """
        m.submodules.words = words = StreamQueue(unsigned(32), depth=QUEUE_WORDS)
        fetched = Signal()
        is_word = Signal()
        can_issue = Signal()
        wiring.connect(m, words.o, wiring.flipped(self.port.read_data))
        m.d.comb += [
            # A word that was fetched enters the queue in the next cycle.
            can_issue.eq((words.level + fetched < QUEUE_WORDS) & go),
            read.addr.eq(address),
            read.en.eq(1),
            words.i.valid.eq(fetched),
            words.i.payload.eq(Mux(is_word, read.data, 0)),
        ]
        m.d.sync += [fetched.eq(issue), is_word.eq(enable)]
        return can_issue

    def _stall(self, m: Module) -> Value:
        """1 in cycles that may transfer."""
        if self._stall_seed is None:
            return Const(1, 1)
        state = Signal(16, init=self._stall_seed)
        m.d.sync += state.eq(Cat(state[1:], state[0] ^ state[2] ^ state[3] ^ state[5]))
        return state[0]
