"""The accelerator's host port: one stream of requests in, one stream of read responses out."""

from amaranth.lib import data, enum, stream

__all__ = ["HOST_REQUESTS", "HOST_RESPONSES", "HostOperation", "HostRequest", "HostResponse"]


class HostOperation(enum.Enum, shape=2):
    """What a request does."""

    WRITE_MEMORY = 0
    READ_MEMORY = 1
    WRITE_REGISTER = 2
    READ_REGISTER = 3


class HostRequest(data.Struct):
    """One access of one word. Requests take effect in the order of their transfers."""

    #: Memory or register, read or write.
    operation: HostOperation
    #: Word address in external memory, or register number.
    address: 24
    #: Word to write; without meaning for reads.
    data: 32


class HostResponse(data.Struct):
    """The answer to one READ_MEMORY or READ_REGISTER, in request order. Writes have none."""

    #: Word that was read.
    data: 32


HOST_REQUESTS = stream.Signature(HostRequest)
"""Requests, seen from the host's side: ``Out`` on the link, ``In`` on the accelerator."""

HOST_RESPONSES = stream.Signature(HostResponse)
"""Responses, seen from the accelerator's side: ``Out`` there, ``In`` on the link."""
