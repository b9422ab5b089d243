"""Class probabilities corrected by colour, by Bayes' rule. Host code.

A network sees the borders of things coarsely: it gives a part of a thing to what lies behind it, and is unsure of a
piece of sky between branches. The colours of each class in the same photograph tell better. As in "GrabCut" (Rother,
Kolmogorov and Blake, 2004), but with histograms, with the network's probabilities as the prior, and without a graph
cut.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

LEVELS = 24  # of the histograms, for each of R, G, B
BLUR = 0.7  # standard deviation, in levels
ROUNDS = 3  # in which histograms and probabilities are found from each other
RARE = 1e-5  # likelihood of a colour that a class does not have
DOUBT = 0.25  # power of the likelihoods in a confidence: neighbouring pixels are no independent evidence


class Corrected(NamedTuple):
    """Of c classes and a picture."""

    prior: Float[np.ndarray, "c h w"]
    """the network's probabilities"""
    likelihoods: Float[np.ndarray, "c h w"]
    """of the pixels' colours"""
    probabilities: Float[np.ndarray, "c h w"]
    """by Bayes' rule; they sum to one over c"""

    def confidence(self, labels: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """How sure each pixel's label is: high where network and colours agree.

        The mean over a label is at most the network's: that flames have the colours of flames does not make them the
        tree that they were taken for.
        """
        at = labels[None]
        sure = np.take_along_axis(_normalised(self.prior * self.likelihoods**DOUBT), at, 0)[0]
        network = np.take_along_axis(self.prior, at, 0)[0]
        sums, most = (np.bincount(labels.ravel(), each.ravel(), len(self.prior)) for each in (sure, network))
        return sure * np.minimum(most / np.maximum(sums, 1e-9), 1).astype(np.float32)[labels]


def corrected(probabilities: Float[np.ndarray, "c h w"], picture: Float[np.ndarray, "h w 3"]) -> Corrected:
    """A network's class probabilities at the size of a picture (RGB in [0, 1]), corrected by the classes' colours."""
    bins = np.minimum((picture * LEVELS).astype(np.intp), LEVELS - 1)
    colours = bins @ np.array([LEVELS**2, LEVELS, 1])
    found = Corrected(probabilities, np.ones_like(probabilities), probabilities)
    for _ in range(ROUNDS):
        likelihoods = _likelihoods(found.probabilities, colours)
        found = Corrected(probabilities, likelihoods, _normalised(probabilities * likelihoods))
    return found


def _likelihoods(probabilities: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The likelihood of each pixel's colour in each class [c, h, w]."""
    counts = [np.bincount(colours.ravel(), each.ravel(), LEVELS**3) for each in probabilities]
    cube = np.stack(counts).reshape(-1, LEVELS, LEVELS, LEVELS)
    smooth = ndimage.gaussian_filter(cube, (0, BLUR, BLUR, BLUR), truncate=2).reshape(len(cube), -1)
    shares = smooth / np.maximum(smooth.sum(1, keepdims=True), 1e-9) + RARE
    return shares.astype(np.float32)[:, colours]


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / np.maximum(weights.sum(0, keepdims=True), 1e-12)
