"""A batch of images as one network: they lie one below the other, and share every weight.

Every tensor of the batched network holds those of all images, stacked along its rows. Where the
rows of an image do not touch those of the next one (kernels and pool windows that reach no further
than their stride, without padding), a layer of the batch is a plain layer on a taller tensor: a
fully connected layer on ``n`` images is a convolution with ``n`` output pixels, which use the array
side by side. Elsewhere a layer notes the number of images (``Layer.images``), and padding and
windows keep to each of them.
"""

from __future__ import annotations

from dataclasses import replace

from golden.integer_network import ConvolutionLayer, IntegerNetwork, Layer, Pool

__all__ = ["batched"]

Shape = tuple[int, int, int]


def batched(network: IntegerNetwork, images: int) -> IntegerNetwork:
    """The network on ``images`` images at once; its input is that many images, stacked.

    Args:
        network: On one image.
        images: At least 1.

    Returns:
        A network whose tensors [images * height, width, channels] hold, one below the other, what
        ``network`` computes for each image.

    Raises:
        ValueError: ``images`` is not positive, or ``network`` is a batch already.
    """
    if images < 1:
        raise ValueError(f"images of a batch must be at least 1, not {images}")
    if network.images != 1:
        raise ValueError(f"network must be on one image, not a batch of {network.images}")
    if images == 1:
        return network
    streams = {
        layer.stream.tensor: layer.convolution_shape
        for layer in network.layers
        if isinstance(layer, ConvolutionLayer) and layer.stream is not None
    }
    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, ConvolutionLayer):
            layers.append(_convolution(layer, streams, images))
        else:
            layers.append(
                replace(
                    layer,
                    input_shape=_stacked(layer.input_shape, images),
                    output_shape=_stacked(layer.output_shape, images),
                    images=images,
                )
            )
    return replace(
        network,
        image=replace(network.image, height=network.image.height * images),
        layers=tuple(layers),
        images=images,
    )


def _convolution(
    layer: ConvolutionLayer, streams: dict[str, Shape], images: int
) -> ConvolutionLayer:
    shapes = {
        "input_shape": _stacked(layer.input_shape, images),
        "convolution_shape": _stacked(layer.convolution_shape, images),
        "output_shape": _stacked(layer.output_shape, images),
    }
    stride, pool = _kernel_stride(layer), _pool_on(layer)
    is_apart = stride is None or (layer.pool is not None and pool is None)
    if stride is None or is_apart or not _is_covered(layer, streams):
        return replace(layer, **shapes, images=images)
    return replace(layer, **shapes, stride=(stride, layer.stride[1]), pool=pool)


def _stacked(shape: Shape, images: int) -> Shape:
    return shape[0] * images, *shape[1:]


def _step(rows: int, window: int, stride: int, outputs: int) -> int | None:
    """A stride with which ``outputs`` windows take ``rows`` rows and touch none beyond them.

    A single window may have any stride that is large enough. None: there is no such stride.
    """
    if outputs == 1:
        stride = rows
    return stride if window <= stride and outputs * stride == rows else None


def _kernel_stride(layer: ConvolutionLayer) -> int | None:
    """Stride along y with which stacked images are convolved as one; None if they cannot be."""
    if layer.padding[0] or layer.padding[2]:
        return None
    kernel = layer.weight_planes.shape[2]
    return _step(layer.input_shape[0], kernel, layer.stride[0], layer.convolution_shape[0])


def _pool_on(layer: ConvolutionLayer) -> Pool | None:
    """The pool on the rows of stacked images as one; None if there is none, or it cannot be."""
    pool = layer.pool
    if pool is None or pool.padding[0] or pool.padding[2]:
        return None
    rows, outputs = layer.convolution_shape[0], layer.output_shape[0]
    step = _step(rows, pool.window[0], pool.stride[0], outputs)
    # Other windows would overlap, or leave rows out, where those of one image do not.
    if step not in (pool.stride[0], pool.window[0]):
        return None
    return replace(pool, stride=(step, pool.stride[1]))


def _is_covered(layer: ConvolutionLayer, streams: dict[str, Shape]) -> bool:
    """Whether the windows of the residual, if there is one, take all rows of its stream."""
    if layer.residual is None:
        return True
    rows = streams[layer.residual.tensor][0]
    return layer.convolution_shape[0] * layer.residual.window == rows
