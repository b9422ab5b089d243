"""The colours of painted masks: finds the main colours, assigns noise to them, and names them."""

import numpy as np

MAXIMUM_REGIONS = 24  # more are unlikely in a painted mask; photographs have hundreds of colours of that size

# Distances between colours are Euclidean in 8-bit RGB.
COLOUR_RADIUS = 24.0  # JPEG noise and soft brushes stay within this distance of the main colour
SLOPE_REACH = 64.0  # how far from a colour the slope of its histogram peak is followed
PURE_RADIUS = 12.0  # a pixel this near to a main colour was painted with it
NAME_RADIUS = 48.0  # about 10 % of the range in each channel: "blue" need not be exactly 0, 0, 255

MINIMUM_COLOUR_SHARE = 1e-4  # of flat pixels, for a candidate of a region's colour

USUAL_COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "light blue": (0, 255, 255),
    "purple": (255, 0, 255),
}


def distinct(images: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """All colours of the images, float [U, 3], and for each image the index [H, W] of its pixels' colours."""
    codes = [image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32) for image in images]
    values, index = np.unique(np.concatenate([code.ravel() for code in codes]), return_inverse=True)
    colours = np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=-1).astype(np.float64)
    parts = np.split(index, np.cumsum([code.size for code in codes])[:-1])
    return colours, [part.reshape(code.shape) for part, code in zip(parts, codes, strict=True)]


def main(colours: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent flat colours [K, 3], and for each the number [K] of the main colour of its region.

    Greedy: the most frequent colour takes all colours within COLOUR_RADIUS, and so on. JPEG noise and shading leave
    shells around a strong colour. A shell is recognised by the missing valley between it and the strong colour.
    """
    colours, shares = colours[shares > 0], shares[shares > 0]
    left = shares.copy()
    centres: list[np.ndarray] = []
    regions: list[int] = []
    for _ in range(4 * MAXIMUM_REGIONS):  # bounded, as a photograph has very many colours
        if not left.any():
            break
        centre = colours[left.argmax()]
        near = _within(colours, centre, COLOUR_RADIUS)
        if left[near].sum() >= MINIMUM_COLOUR_SHARE:
            slope = _downhill_of(centre, centres, colours, shares)
            regions.append(len(centres) if slope is None else regions[slope])
            centres.append(centre)
        left[near] = 0
    return np.reshape(centres, (-1, 3)), np.array(regions, int)


def _downhill_of(centre: np.ndarray, stronger: list[np.ndarray], colours: np.ndarray, shares: np.ndarray) -> int | None:
    """The nearest stronger colour whose histogram peak has the centre on its slope, if any."""
    distances = [float(np.linalg.norm(other - centre)) for other in stronger]
    for number in np.argsort(distances, kind="stable"):
        radius = distances[number] / 4
        if 4 * radius > SLOPE_REACH:
            break
        between = _within(colours, (centre + stronger[number]) / 2, radius)
        if shares[between].sum() >= shares[_within(colours, centre, radius)].sum():
            return int(number)
    return None


def _within(colours: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return np.square(colours - centre).sum(axis=-1) <= radius**2


def regions_of(colours: np.ndarray, centres: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct colour its region or -1, and whether it is nearly equal to a region's main colour."""
    labels = np.full(len(colours), -1)
    pure = np.zeros(len(colours), bool)
    nearest = np.full(len(colours), np.inf)
    for number, (centre, region) in enumerate(zip(centres, regions, strict=True)):
        distances = np.square(colours - centre).sum(axis=-1)
        closer = (distances < nearest) & (distances <= COLOUR_RADIUS**2)
        labels[closer], nearest[closer] = region, distances[closer]
        if region == number:  # a main colour, not a shell of a stronger one
            pure |= distances <= PURE_RADIUS**2
    return labels, pure


def names_of(centres: np.ndarray) -> list[str]:
    """The usual name of each colour, or '#rrggbb'. If two colours match a name, the nearer one gets it."""
    names = ["#{:02x}{:02x}{:02x}".format(*centre.astype(int)) for centre in centres]
    for name, colour in USUAL_COLOURS.items():
        distances = np.linalg.norm(centres - colour, axis=-1)
        if distances.min() <= NAME_RADIUS:
            names[int(distances.argmin())] = name
    return names
