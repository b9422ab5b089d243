"""What networks see of an image: `image * scale + offset` per channel, of RGB in [0, 1].

Each network keeps that of its training beside its parameters, in the collection `preprocessing`; these are the usual
ones.
"""

from typing import NamedTuple


class Scaling(NamedTuple):
    """Scale and offset of each channel, in RGB order whatever the order in which a network has them."""

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


CAFFE = Scaling((255.0, 255.0, 255.0), (-123.68, -116.779, -103.939))
"""of networks trained with Caffe: levels from 0 to 255 less their mean over ImageNet, BGR (103.939, 116.779, 123.68)"""
IMAGENET = Scaling((1 / 0.229, 1 / 0.224, 1 / 0.225), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225))
"""of networks trained with PyTorch: (x - mean) / std over ImageNet"""
SYMMETRIC = Scaling((2.0, 2.0, 2.0), (-1.0, -1.0, -1.0))
"""of networks trained with TensorFlow, Inception and MobileNet among them: [-1, 1]"""
