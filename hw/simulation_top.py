"""What co-simulation runs: the accelerator with its external memory, as Verilog.

python -m hw.simulation_top PRESET OUT.v
"""

import sys
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator, RetiredSignature
from hw.config import AcceleratorConfig, ConfigError, preset
from hw.link.host_port import HostOperation
from hw.memory.external import BlockExternalMemory
from hw.payloads import TraceSignature
from hw.stream import connect_checked

__all__ = ["SimulationTop", "generate_verilog"]

TOP = "simulation_top"


class SimulationTop(wiring.Component):
    """The accelerator with ``external_words`` of block RAM, and ports that are plain signals.

    Ports are called ``request__*`` and ``response__*`` (host port), ``trace__*``, ``retired__*``
    and ``busy``, besides ``clk`` and ``rst``.

    Parameters
    ----------
    config
        Sizes.
    latency
        Of the external memory, see :class:`BlockExternalMemory`.
    stall_seed
        Random stalls of the external memory, see :class:`BlockExternalMemory`.
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
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        m.submodules.external = external = BlockExternalMemory(
            self._config.memory.external_words,
            latency=self._latency,
            stall_seed=self._stall_seed,
        )
        connect_checked(m, accelerator.memory, external.port)
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


def generate_verilog(config: AcceleratorConfig, path: Path) -> None:
    """Write the Verilog of :class:`SimulationTop`; the top module is ``simulation_top``."""
    top = SimulationTop(config)
    path.write_text(verilog.convert(top, name=TOP, strip_internal_attrs=True))


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m hw.simulation_top PRESET OUT.v", file=sys.stderr)
        return 2
    try:
        generate_verilog(preset(arguments[0]), Path(arguments[1]))
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
