"""Executes request frames on the host port and answers them."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.frame import FrameHeader, FrameWord, RejectedFrame
from hw.link.host_port import HOST_REQUESTS, HOST_RESPONSES, HostOperation
from hw.link.protocol import (
    ADDRESS_WIDTH,
    PAYLOAD_WORDS_MAXIMUM,
    READ_WORDS_MAXIMUM,
    FrameType,
    LinkIdentity,
    NackReason,
)

__all__ = ["LinkBridge"]

REQUESTS = tuple(kind for kind in FrameType if kind < FrameType.ACK)


class LinkBridge(wiring.Component):
    """Takes one request frame at a time, executes it, and answers with one ACK or NACK.

    All requests of a frame are on the host port before its ACK is offered; a read's data follow
    as they come. Only one read is under way at a time and its response is always taken at once,
    so a slow line never stalls the responses of the accelerator. Rejected frames have precedence
    over the next good one, and are answered by a NACK.

    A frame costs four cycles, plus one per host request (three per read) and what the host port
    and the transmitter stall. If the accelerator never accepts a request, the bridge waits for
    ever; the host sees a time-out.

    Parameters
    ----------
    identity
        Answer to HELLO.
    """

    #: Good frames.
    frames: In(stream.Signature(FrameWord))
    #: Bad frames that are to be answered.
    rejects: In(stream.Signature(RejectedFrame))
    #: Answers.
    replies: Out(stream.Signature(FrameWord))
    #: Accesses of the accelerator's memory and registers.
    host_requests: Out(HOST_REQUESTS)
    #: Words read.
    host_responses: In(HOST_RESPONSES)

    def __init__(self, identity: LinkIdentity) -> None:
        self._identity = identity
        super().__init__()
        self._header = Signal(FrameHeader)
        # As in the request; beyond `ADDRESS_WIDTH` bits only until it is checked.
        self._address = Signal(32)
        self._reason = Signal(8, init=NackReason.NONE)
        # Words of the request still to be taken, and of the answer still to be given.
        self._request_left = Signal(range(PAYLOAD_WORDS_MAXIMUM + 1))
        self._reply_left = Signal(range(PAYLOAD_WORDS_MAXIMUM + 1))
        self._read_word = Signal(32)

    def elaborate(self, platform):
        m = Module()

        # A request with the number of the one executed last is its repetition.
        last_sequence = Signal(8)
        has_executed = Signal()
        is_repetition = has_executed & (last_sequence == self._header.sequence)

        with m.FSM():
            with m.State("IDLE"):
                self._start(m)
            with m.State("CHECK"):
                self._check_header(m)
            with m.State("ADDRESS"):
                self._take_address(m)
            with m.State("RANGE"):
                self._check_address(m, is_repetition)
            with m.State("WRITE"):
                self._write(m)
            with m.State("DISCARD"):
                with m.If(self._request_left == 0):
                    m.next = "ANSWER"
                with m.Elif(self.frames.valid):
                    self._take_word(m)
            with m.State("ANSWER"):
                self._answer(m)
                with m.If(self._reason == NackReason.NONE):
                    m.d.sync += [last_sequence.eq(self._header.sequence), has_executed.eq(1)]
            with m.State("IDENTITY"):
                self._reply_word(m, self._identity_word(), next_state="IDENTITY")
            with m.State("READ"):
                self._request_read(m)
            with m.State("RESPONSE"):
                m.d.comb += self.host_responses.ready.eq(1)
                m.d.sync += self._read_word.eq(self.host_responses.payload.data)
                with m.If(self.host_responses.valid):
                    m.next = "DATA"
            with m.State("DATA"):
                self._reply_word(m, self._read_word, next_state="READ")

        return m

    def _take_word(self, m: Module) -> None:
        m.d.comb += self.frames.ready.eq(1)
        m.d.sync += self._request_left.eq(self.frames.payload.remaining)

    def _refuse(self, m: Module, reason: NackReason) -> None:
        m.d.sync += self._reason.eq(reason)
        m.next = "DISCARD"

    def _is_kind(self, *kinds: FrameType) -> Value:
        return self._header.kind.matches(*kinds)

    def _start(self, m: Module) -> None:
        with m.If(self.rejects.valid):
            m.d.comb += self.rejects.ready.eq(1)
            m.d.sync += [
                self._header.sequence.eq(self.rejects.payload.sequence),
                self._reason.eq(self.rejects.payload.reason),
            ]
            m.next = "ANSWER"
        with m.Elif(self.frames.valid):
            self._take_word(m)
            m.d.sync += [
                self._header.eq(self.frames.payload.data),
                self._reason.eq(NackReason.NONE),
            ]
            m.next = "CHECK"

    def _check_header(self, m: Module) -> None:
        """Refuse requests of unknown type, and those whose count does not fit their length."""
        count = self._header.count
        length_ok = Signal()
        with m.Switch(self._header.kind):
            with m.Case(FrameType.HELLO):
                m.d.comb += length_ok.eq(self._request_left == 0)
            with m.Case(FrameType.WRITE):
                m.d.comb += length_ok.eq((count != 0) & (self._request_left == count + 1))
            with m.Case(FrameType.READ):
                in_range = (count != 0) & (count <= READ_WORDS_MAXIMUM)
                m.d.comb += length_ok.eq(in_range & (self._request_left == 1))
            with m.Case(FrameType.WRITE_REGISTER):
                m.d.comb += length_ok.eq((count == 1) & (self._request_left == 2))
            with m.Case(FrameType.READ_REGISTER):
                m.d.comb += length_ok.eq((count == 1) & (self._request_left == 1))

        with m.If(~self._is_kind(*REQUESTS)):
            self._refuse(m, NackReason.BAD_TYPE)
        with m.Elif(~length_ok):
            self._refuse(m, NackReason.BAD_COUNT)
        with m.Elif(self._is_kind(FrameType.HELLO)):
            m.next = "ANSWER"
        with m.Else():
            m.next = "ADDRESS"

    def _take_address(self, m: Module) -> None:
        with m.If(self.frames.valid):
            self._take_word(m)
            m.d.sync += self._address.eq(self.frames.payload.data)
            m.next = "RANGE"

    def _check_address(self, m: Module, is_repetition: Value) -> None:
        last = self._address + self._header.count - 1
        with m.If(last[ADDRESS_WIDTH:].any()):
            self._refuse(m, NackReason.BAD_ADDRESS)
        with m.Elif(self._is_kind(FrameType.READ, FrameType.READ_REGISTER)):
            m.next = "ANSWER"
        with m.Elif(self._is_kind(FrameType.WRITE_REGISTER) & is_repetition):
            m.next = "DISCARD"
        with m.Else():
            m.next = "WRITE"

    def _request(self, m: Module, memory: HostOperation, register: HostOperation) -> None:
        is_register = self._is_kind(FrameType.WRITE_REGISTER, FrameType.READ_REGISTER)
        m.d.comb += [
            self.host_requests.payload.operation.eq(Mux(is_register, register, memory)),
            self.host_requests.payload.address.eq(self._address[:ADDRESS_WIDTH]),
            self.host_requests.payload.data.eq(self.frames.payload.data),
        ]
        with m.If(self.host_requests.valid & self.host_requests.ready):
            m.d.sync += self._address.eq(self._address + 1)

    def _write(self, m: Module) -> None:
        self._request(m, HostOperation.WRITE_MEMORY, HostOperation.WRITE_REGISTER)
        m.d.comb += self.host_requests.valid.eq(self.frames.valid)
        with m.If(self.frames.valid & self.host_requests.ready):
            self._take_word(m)
            with m.If(self.frames.payload.remaining == 0):
                m.next = "ANSWER"

    def _request_read(self, m: Module) -> None:
        self._request(m, HostOperation.READ_MEMORY, HostOperation.READ_REGISTER)
        m.d.comb += self.host_requests.valid.eq(1)
        with m.If(self.host_requests.ready):
            m.next = "RESPONSE"

    def _answer(self, m: Module) -> None:
        """Give the header of the answer and go where its data come from."""
        is_nack = self._reason != NackReason.NONE
        is_hello = self._is_kind(FrameType.HELLO)
        is_read = self._is_kind(FrameType.READ, FrameType.READ_REGISTER)
        count = Signal.like(self._reply_left)
        reply = Signal(FrameHeader)

        with m.If(~is_nack & is_hello):
            m.d.comb += count.eq(LinkIdentity.WORDS)
        with m.Elif(~is_nack & is_read):
            m.d.comb += count.eq(self._header.count)
        m.d.comb += [
            reply.kind.eq(Mux(is_nack, FrameType.NACK, FrameType.ACK)),
            reply.sequence.eq(self._header.sequence),
            reply.count.eq(count),
            reply.reason.eq(self._reason),
            self.replies.valid.eq(1),
            self.replies.payload.data.eq(reply),
            self.replies.payload.remaining.eq(count),
        ]
        m.d.sync += self._reply_left.eq(count)
        with m.If(self.replies.ready):
            with m.If(count == 0):
                m.next = "IDLE"
            with m.Elif(is_hello):
                m.next = "IDENTITY"
            with m.Else():
                m.next = "READ"

    def _identity_word(self) -> Value:
        """Words of the identity in the order of sending; index zero is never read."""
        words = Array(Const(word, 32) for word in (0, *reversed(self._identity.to_words())))
        return words[self._reply_left]

    def _reply_word(self, m: Module, word: Value, *, next_state: str) -> None:
        m.d.comb += [
            self.replies.valid.eq(1),
            self.replies.payload.data.eq(word),
            self.replies.payload.remaining.eq(self._reply_left - 1),
        ]
        with m.If(self.replies.ready):
            m.d.sync += self._reply_left.eq(self._reply_left - 1)
            m.next = next_state
            with m.If(self._reply_left == 1):
                m.next = "IDLE"
