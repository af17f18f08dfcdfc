"""Tensors that are on chip as a whole, as the engines see them."""

from __future__ import annotations

from golden.integer_network import ConvolutionLayer, IntegerNetwork
from hw.config import AcceleratorConfig

from .emit_post import PostViews
from .layout import StreamLayout
from .placement import Addresses, item_words
from .units import LayerPlan
from .views import View, stream_view

__all__ = ["WholeViews"]


class WholeViews:
    """Views of the tensors of layers; None where a tensor lies in the external memory."""

    def __init__(
        self, network: IntegerNetwork, addresses: Addresses, config: AcceleratorConfig
    ) -> None:
        self._image = network.image
        self._addresses = addresses
        self._config = config

    def source(self, plan: LayerPlan) -> View | None:
        """What FILL reads, in activation words; None also if the layer reads a stream."""
        if isinstance(plan.source, StreamLayout):
            return None
        if plan.source is None:
            pixel = item_words(self._config)
            return View(self._addresses.image, pixel, pixel * self._image.width)
        base = self._addresses.planes.get(plan.layer.source)
        if base is None:
            return None
        return View(base // 2, plan.source.pixel_stride // 2, plan.source.row_stride // 2)

    def post(self, plan: LayerPlan) -> PostViews:
        """What the post engine reads and writes."""
        layer = plan.layer
        residual = stream = codes = None
        if not isinstance(layer, ConvolutionLayer):
            assert isinstance(plan.source, StreamLayout)
            residual = self._stream(layer.source, plan.source)
        elif layer.residual is not None and plan.residual_source is not None:
            residual = self._stream(layer.residual.tensor, plan.residual_source)
        if isinstance(layer, ConvolutionLayer) and plan.stream_output is not None:
            assert layer.stream is not None
            stream = self._stream(layer.stream.tensor, plan.stream_output)
        layout = plan.plane_output
        if layout is not None and layer.outputs is not None:
            base = self._addresses.planes.get(layer.outputs.tensor)
            if base is not None:
                codes = View(base, layout.pixel_stride, layout.row_stride, channel=-layout.before)
        return PostViews(residual, stream, codes)

    def _stream(self, name: str, layout: StreamLayout) -> View | None:
        base = self._addresses.streams.get(name)
        return None if base is None else stream_view(base, layout)
