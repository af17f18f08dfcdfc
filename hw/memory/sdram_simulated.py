"""External memory in simulation: controller, pads and model of an SDRAM."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..delay import delayed
from ..payloads import MemoryPortSignature
from .sdram import PAD_CYCLES, SdramController
from .sdram_model import SdramModel, SdramRule
from .sdram_part import SdramPart
from .sdram_pins import SdramCommand

__all__ = ["SimulatedSdram"]


class SimulatedSdram(wiring.Component):
    """The board's SDRAM as the accelerator sees it, registers at the pins included.

    Parameters
    ----------
    part
        Sizes and rules.
    clock_mhz
        Of the domain ``sync``.
    pad_cycles
        Registers at the pins, both ways together.
    controller_part
        What the controller takes the part for, if not what it is.
    """

    #: As of the controller.
    port: In(MemoryPortSignature())
    #: As of the controller.
    busy: In(1)
    #: As of the controller.
    ready: Out(1)
    #: As of the model.
    broken: Out(SdramRule)

    def __init__(
        self,
        part: SdramPart,
        *,
        clock_mhz: float,
        pad_cycles: int = PAD_CYCLES,
        controller_part: SdramPart | None = None,
    ) -> None:
        self._outward = pad_cycles // 2
        self._inward = pad_cycles - self._outward
        #: Controller.
        self.controller = SdramController(
            controller_part or part, clock_mhz=clock_mhz, pad_cycles=pad_cycles
        )
        #: The part.
        self.model = SdramModel(part, clock_mhz=clock_mhz)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.model = model = self.model
        wiring.connect(m, wiring.flipped(self.port), controller.port)
        for name in ("command", "bank", "address", "dq_o", "dq_oe"):
            init = SdramCommand.NOP.value if name == "command" else 0
            source = getattr(controller.pins, name)
            late = delayed(m, source, self._outward, name=name, init=init)
            m.d.comb += getattr(model.pins, name).eq(late)
        m.d.comb += [
            controller.pins.dq_i.eq(delayed(m, model.pins.dq_i, self._inward, name="dq_i")),
            controller.busy.eq(self.busy),
            self.ready.eq(controller.ready),
            self.broken.eq(model.broken),
        ]
        return m
