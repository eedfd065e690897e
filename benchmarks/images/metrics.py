"""How near an image is to its reference: SSIMULACRA2 (100 is identical) and SSIM (1 is identical)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from ssimulacra2 import ssimulacra2 as formula

Array = NDArray[np.floating]

SSIMULACRA2, BY_SCALE, SSIM = "SSIMULACRA2", "SSIMULACRA2 by scale", "SSIM"
"""Below about 256 pixels SSIMULACRA2 has fewer scales than weights and, as published, gives the weights of one scale to
another. `by scale` gives each scale its own; it is shown beside the published score, on which the targets are.
"""

_SMALLEST = 8  # pixels of the smallest scale that SSIMULACRA2 looks at
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, section III.B
_SIGMA, _TRUNCATE = 1.5, 3.5  # the same paper's window of 11x11


class Reference:
    """An image against which many others are compared: its own share of the work is done once.

    SSIMULACRA2 is put together from the functions of the `ssimulacra2` package in the order of its
    `compute_ssimulacra2`, which takes files and does both sides anew each time.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image.convert("RGB")
        self._scales = [(xyb, formula.blur_image(xyb), formula.blur_image(xyb * xyb)) for xyb in _scales(self.image)]

    def scores(self, other: Image.Image) -> dict[str, float]:
        """Return all measures of ``other``, an image of the same size."""
        if other.size != self.image.size:
            raise ValueError(f"{other.size} is compared with {self.image.size}")
        result = self._compared(other)
        as_published = float(result.score())
        while len(result.scales) < formula.kNumScales:
            result.scales.append(formula.MsssimScale())
        return {SSIMULACRA2: as_published, BY_SCALE: float(result.score()), SSIM: self._ssim(other)}

    def _compared(self, other: Image.Image) -> formula.Msssim:
        result = formula.Msssim()
        for (xyb, mean, square), own in zip(self._scales, _scales(other.convert("RGB")), strict=True):
            own_mean = formula.blur_image(own)
            scale = formula.MsssimScale()
            scale.avg_ssim = formula.ssim_map(
                mean, own_mean, square, formula.blur_image(own * own), formula.blur_image(xyb * own)
            )
            scale.avg_edgediff = formula.edge_diff_map(xyb, mean, own, own_mean)
            result.scales.append(scale)
        return result

    def _ssim(self, other: Image.Image) -> float:
        a, mean_a, square_a = self._luma
        b = _luma(other)
        mean_b = _blur(b)
        covariance = _blur(a * b) - mean_a * mean_b
        variances = square_a - mean_a**2 + _blur(b * b) - mean_b**2
        above = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
        return float((above / ((mean_a**2 + mean_b**2 + _C1) * (variances + _C2))).mean())

    @cached_property
    def _luma(self) -> tuple[Array, Array, Array]:
        luma = _luma(self.image)
        return luma, _blur(luma), _blur(luma * luma)


def _scales(image: Image.Image) -> list[Array]:
    linear = formula.srgb_to_linear(np.array(image, dtype=np.float64))
    scales: list[Array] = []
    while len(scales) < formula.kNumScales and min(linear.shape[:2]) >= _SMALLEST:
        scales.append(formula.make_positive_xyb(formula.linear_rgb_to_xyb(linear)))
        linear = formula.downsample(linear, 2, 2)
    return scales


def _luma(image: Image.Image) -> Array:
    return np.asarray(image.convert("RGB").convert("L"), dtype=np.float32)


def _blur(plane: Array) -> Array:
    return gaussian_filter(plane, _SIGMA, truncate=_TRUNCATE)
