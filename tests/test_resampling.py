"""Resizing on the host: against Pillow, whose resize is the same filters in C."""

import numpy as np
import pytest
from PIL import Image

from jpst import resampling

KERNELS = [(resampling.triangle, Image.Resampling.BILINEAR), (resampling.cubic, Image.Resampling.BICUBIC)]


@pytest.mark.parametrize("size", [(31, 20), (7, 60), (150, 333), (64, 48), (1, 1)])
@pytest.mark.parametrize(("kernel", "filtering"), KERNELS)
def test_it_equals_pillow(kernel, filtering, size):
    image = np.random.default_rng(0).uniform(size=(64, 48, 3)).astype(np.float32)
    ours = resampling.resized(image, *size, kernel)
    planes = [Image.fromarray(image[..., channel]).resize(size[::-1], filtering) for channel in range(3)]
    np.testing.assert_allclose(ours, np.stack(list(map(np.asarray, planes)), -1), atol=2e-6)


@pytest.mark.parametrize("kernel", [resampling.triangle, resampling.cubic])
def test_the_same_size_is_the_same_image(kernel):
    image = np.random.default_rng(1).uniform(size=(9, 14, 2)).astype(np.float32)
    np.testing.assert_array_equal(resampling.resized(image, 9, 14, kernel), image)
