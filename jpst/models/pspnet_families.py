"""The published families of PSPNet50 for ADE20K: how their networks differ.

Every difference is data here, with its reason; `pspnet` has one network for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jpst.models.scaling import CAFFE, IMAGENET, Scaling


@dataclass(frozen=True)
class Crops:
    """Tested on square crops of the resized image, whose class probabilities are averaged where they overlap."""

    longest: int = 512  # side that the image's longest one is brought to, up or down
    size: int = 473  # the crops the network was trained on
    stride: int = 316  # two thirds of `size`, rounded up
    centred: bool = False  # where an image shorter than a crop lies in it; else at the top left


@dataclass(frozen=True)
class Whole:
    """Tested on the whole resized image. Sides become multiples of 8, so that few shapes are ever compiled."""

    short: int  # what the shortest side is brought to ...
    longest: int  # ... unless the longest would exceed this
    round_up: bool  # to the multiples of 8, or to the nearest


@dataclass(frozen=True)
class Architecture:
    """What sets one family's network and its use apart from the others'."""

    stem: tuple[int, int, int]
    """Channels of the three convolutions of the stem."""
    strided: Literal["conv1", "conv2"]
    """Which convolution of a stage's first block has the stride: He et al.'s first 1x1, or the 3x3 (Torch)."""
    contracted: bool
    """Whether the first block of a dilated stage keeps the dilation of the stage before, as the blocks of an
    undilated ResNet would see it, or has the stage's own."""
    padding: Literal["SAME"] | int
    """At stride 2. TensorFlow pads even sizes below and on the right only; the others by 1 on every side."""
    pooling: Literal["fixed", "adaptive"]
    """The pyramid's bins: of 60/k pixels, made for a feature map of 60 x 60 (as Caffe and its ports have it),
    or k x k of them over the whole map, overlapping where its side is no multiple of k (PyTorch)."""
    pyramid: tuple[int, int, int, int]
    """The levels in the order in which the head's kernel expects them."""
    align_corners: bool
    """Of every bilinear resize inside the network and of its logits."""
    testing: Crops | Whole
    """How its authors test it."""
    preprocessing: Scaling
    """What its networks were trained on."""


FAMILIES = {
    "caffe": Architecture(
        stem=(64, 64, 128),
        strided="conv1",
        contracted=False,
        padding="SAME",  # its TensorFlow and Keras ports; on the odd sides of crops Caffe's own padding is the same
        pooling="fixed",
        pyramid=(6, 3, 2, 1),
        align_corners=True,
        testing=Crops(),
        preprocessing=CAFFE,
    ),
    "semseg": Architecture(
        stem=(64, 64, 128),
        strided="conv2",
        contracted=False,
        padding=1,
        pooling="adaptive",
        pyramid=(1, 2, 3, 6),
        align_corners=True,
        testing=Crops(centred=True),
        preprocessing=IMAGENET,
    ),
    "mmseg": Architecture(
        stem=(32, 32, 64),  # ResNet-50 v1c
        strided="conv2",
        contracted=True,
        padding=1,
        pooling="adaptive",
        pyramid=(1, 2, 3, 6),
        align_corners=False,
        testing=Whole(short=512, longest=2048, round_up=False),
        preprocessing=IMAGENET,
    ),
    "csail": Architecture(
        stem=(64, 64, 128),
        strided="conv2",
        contracted=True,
        padding=1,
        pooling="adaptive",
        pyramid=(1, 2, 3, 6),
        align_corners=False,
        testing=Whole(short=450, longest=1000, round_up=True),
        preprocessing=IMAGENET,
    ),
}
