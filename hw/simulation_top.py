"""What co-simulation runs: the accelerator with its external memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator, RetiredSignature
from hw.config import AcceleratorConfig
from hw.link.host_port import HostOperation
from hw.memory.external import BlockExternalMemory
from hw.memory.sdram_model import SdramRule
from hw.memory.sdram_simulated import SimulatedSdram
from hw.payloads import TraceSignature
from hw.stream import connect_checked

__all__ = ["TOP", "SimulationTop"]

TOP = "simulation_top"


class SimulationTop(wiring.Component):
    """The accelerator with its external memory, and ports that are plain signals.

    The external memory is block RAM, or the controller of an SDRAM and the model of the part.

    Ports are called ``request__*`` and ``response__*`` (host port), ``trace__*``, ``retired__*``,
    ``busy`` and, with an SDRAM, ``broken``, besides ``clk`` and ``rst``.

    Parameters
    ----------
    config
        Sizes.
    latency
        Of external memory in block RAM, see :class:`BlockExternalMemory`.
    stall_seed
        Random stalls of external memory in block RAM, see :class:`BlockExternalMemory`.
    """

    def __init__(
        self, config: AcceleratorConfig, *, latency: int = 0, stall_seed: int | None = None
    ) -> None:
        self._config = config
        self._latency = latency
        self._stall_seed = stall_seed
        request = {"operation": HostOperation, "address": 24, "data": 32}
        super().__init__(
            {
                # Host port.
                "request": In(
                    wiring.Signature(
                        {
                            **{name: Out(shape) for name, shape in request.items()},
                            "valid": Out(1),
                            "ready": In(1),
                        }
                    )
                ),
                "response": Out(
                    wiring.Signature({"data": Out(32), "valid": Out(1), "ready": In(1)})
                ),
                # Observation only.
                "trace": Out(TraceSignature(config)),
                "retired": Out(RetiredSignature()),
                # A run is under way.
                "busy": Out(1),
                # With an SDRAM: its first rule that was broken.
                **({} if config.sdram is None else {"broken": Out(SdramRule)}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        connect_checked(m, accelerator.memory, self._external(m, accelerator).port)
        connect_checked(m, accelerator.trace, wiring.flipped(self.trace))
        connect_checked(m, accelerator.retired, wiring.flipped(self.retired))
        requests, responses = accelerator.host_requests, accelerator.host_responses
        m.d.comb += [
            requests.payload.operation.eq(self.request.operation),
            requests.payload.address.eq(self.request.address),
            requests.payload.data.eq(self.request.data),
            requests.valid.eq(self.request.valid),
            self.request.ready.eq(requests.ready),
            self.response.data.eq(responses.payload.data),
            self.response.valid.eq(responses.valid),
            responses.ready.eq(self.response.ready),
            self.busy.eq(accelerator.busy),
        ]
        return m

    def _external(
        self, m: Module, accelerator: Accelerator
    ) -> BlockExternalMemory | SimulatedSdram:
        part = self._config.sdram_part
        if part is None:
            m.submodules.external = block = BlockExternalMemory(
                self._config.memory.external_words,
                latency=self._latency,
                stall_seed=self._stall_seed,
            )
            return block
        m.submodules.external = sdram = SimulatedSdram(part, clock_mhz=self._config.clock_mhz)
        m.d.comb += [sdram.busy.eq(accelerator.busy), self.broken.eq(sdram.broken)]
        return sdram
