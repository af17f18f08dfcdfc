"""FILL and COMPUTE in the functional simulator: from activations to the array's sums."""

from __future__ import annotations

from collections import deque

import numpy as np

from .functional_memories import Fields, FunctionalError, Memories

__all__ = ["ComputeEngine", "FillEngine"]


class FillEngine:
    """Carries out FILL instructions: padded rows of activations, or of the image, to a half of the
    column buffer.

    Args:
        memories: What it reads and writes.
    """

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def execute(self, f: Fields) -> None:
        """Fill a half; raises :class:`FunctionalError` if the rows do not fit it."""
        m = self._memories
        pixel_words = max(1, 32 // m.word_width)
        unit = pixel_words if f["image"] else 1
        words = []
        for row in range(f["rows"]):
            start = f["source"] + row * f["source_stride"]
            words.append(m.activation[2 * start : 2 * (start + f["words"] * unit)])
        body = np.array(words).reshape(f["rows"], f["words"], unit * 2 * m.rows)
        body = np.pad(body, ((f["top"], f["bottom"]), (0, 0), (0, 0)))
        if f["image"]:
            body = self._patches(body, f)
        else:
            body = np.pad(body, ((0, 0), (f["left"], f["right"]), (0, 0)))
        granules = body.reshape(-1, m.rows)
        if len(granules) > m.config.memory.column_granules:
            raise FunctionalError(f"FILL must fit a column buffer, not {len(granules)} granules")
        m.columns[f["half"], : len(granules)] = granules

    def _patches(self, pixels: np.ndarray, f: Fields) -> np.ndarray:
        """[rows, patches, granules * 8 * rows] row patches of raw pixels [rows, pixels, bits]."""
        array_rows = self._memories.rows
        bits = pixels[:, :, :32].copy()
        inside = slice(f["top"], f["top"] + f["rows"])
        bits[inside, :, 7::8] ^= True
        bits = np.pad(bits, ((0, 0), (f["left"], f["right"]), (0, 0)))
        rows, width, _ = bits.shape
        kernel = f["kernel"]
        planes = bits.reshape(rows, width, 4, 8)  # byte, plane
        out = []
        for x in range(kernel - 1, width, f["stride"]):
            ages = planes[:, x - kernel + 1 : x + 1][:, ::-1]  # [rows, age, byte, plane]
            lanes = ages.reshape(rows, kernel * 4, 8)
            lanes = np.pad(lanes, ((0, 0), (0, f["granules"] * array_rows - kernel * 4), (0, 0)))
            blocks = lanes.reshape(rows, f["granules"], array_rows, 8).transpose(0, 1, 3, 2)
            out.append(blocks.reshape(rows, -1))
        return np.stack(out, axis=1)


class ComputeEngine:
    """Carries out COMPUTE instructions: a half of the column buffer times weights.

    Args:
        memories: What it reads.
    """

    def __init__(self, memories: Memories) -> None:
        self._memories = memories
        self.vectors: deque[np.ndarray] = deque()
        """Sums [rows] that no POST has taken yet."""
        self._partial: np.ndarray | None = None
        """Sums [pixels, rows] that the next COMPUTE goes on with."""

    def execute(self, f: Fields) -> None:
        """Add vectors; raises :class:`FunctionalError` if a pass counts too far."""
        m = self._memories
        pixel = np.arange(f["pixels"])
        inner_x = pixel % f["inner_x"]
        inner_y = pixel // f["inner_x"] % f["inner_y"]
        window = pixel // (f["inner_x"] * f["inner_y"])
        outer_x, outer_y = window % f["outer_x"], window // f["outer_x"]
        base = (
            inner_x * f["stride_inner_x"]
            + inner_y * f["stride_inner_y"]
            + outer_x * f["stride_outer_x"]
            + outer_y * f["stride_outer_y"]
        )
        buffer = m.columns[f["half"]]
        passes = m.passes[f["pass_first"] : f["pass_first"] + f["passes"]]
        for tile in range(f["tiles"]):
            sums = np.zeros((f["pixels"], m.rows), np.int64)
            if self._partial is not None:
                sums, self._partial = self._partial, None
            for index, (first, length, plane, weight) in enumerate(passes):
                offsets = m.windows[first : first + length]
                address = base[:, None, None] + offsets[None] + plane
                data = buffer[address % len(buffer)].reshape(f["pixels"], -1).astype(np.int32)
                start = f["weight_base"] + tile * f["weight_stride"] + weight
                weights = m.weights[start : start + length].transpose(0, 2, 1)
                both = data @ weights.reshape(-1, m.rows).astype(np.int32)
                mask = data @ m.masks[first : first + length].ravel().astype(np.int32)
                if both.max(initial=0) >= 1 << m.config.array.count_width:
                    raise FunctionalError("a pass must not overflow the count accumulators")
                coefficient = m.coefficients[f["coefficient_base"] + tile * f["passes"] + index]
                sums += (2 * both - mask[:, None]).astype(np.int64) * coefficient
            if f["partial"]:
                self._partial = sums
            else:
                self.vectors.extend(sums)
